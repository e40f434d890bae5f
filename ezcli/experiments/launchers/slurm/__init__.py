"""Runs as jobs of a SLURM cluster, through submitit.

    runs/studies/<name>/jobs/
    ├── ledger.jsonl     which run was submitted as which job (`ledger`)
    ├── <run>.json       how the run's last process ended, written in the job (`job`)
    └── ...              submitit's files: sbatch scripts, pickled jobs, their output

A job goes on when the command that submitted it has ended; whoever asks next reads the ledger and
the queue. Before its time is up SLURM sends SIGUSR2: the runs save and the job goes back to the
queue (submitit's requeue). `scancel` sends SIGTERM: they save and end.
"""
