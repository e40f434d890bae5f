"""EfficientZero (Ye et al., NeurIPS 2021): the algorithm, without runs, environments and files.

Reading order: `components` (the paper's additions), `hyperparameters` (all settings), `batch`
(records with shapes), `layers`, `network` (h, g, f), `value_prefix`, `tree`, `kernels`,
`puct_kernels`, `completed_q`, `gumbel_kernels`, `search`, `inference`, `folded`, `searcher` (on a
GPU `device_search`, `cuda_kernels`, `cuda_select`), `planner`, `policy`, `puct`, `gumbel`,
`frames`, `replay`, `targets`, `reanalyse`, `assemble`, `support`, `loss`, `learner`.
"""
