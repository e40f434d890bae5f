"""Runs as jobs of a SLURM cluster, through submitit.

    runs/studies/<name>/jobs/
    ├── ledger.jsonl     which run was submitted as which job (`ledger`)
    ├── <run>.json       how the run's last process ended, written in the job (`job`)
    └── ...              files of submitit: sbatch scripts, pickled jobs, their output

A job continues after the command that submitted it has ended. Later commands read the ledger and
the queue. Before its time limit SLURM sends SIGUSR2: the runs save and the job is requeued by
submitit. `scancel` sends SIGTERM: the runs save and end.
"""
