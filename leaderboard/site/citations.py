"""What a methods paragraph can refer to, as BibTeX."""

from __future__ import annotations

from leaderboard import __version__

ENTRIES = {
    "herdbook": f"""@software{{herdbook,
  title   = {{Herdbook}},
  author  = {{{{The Herdbook contributors}}}},
  version = {{{__version__}}},
  note    = {{Software, licensed under Apache-2.0}}
}}""",
    "wilson1927": """@article{wilson1927,
  title   = {Probable inference, the law of succession, and statistical inference},
  author  = {Wilson, Edwin B.},
  journal = {Journal of the American Statistical Association},
  year    = {1927},
  volume = {22}, number = {158}, pages = {209--212}
}""",
    "owen2001": """@book{owen2001,
  title     = {Empirical Likelihood},
  author    = {Owen, Art B.},
  publisher = {Chapman and Hall/CRC},
  year      = {2001}
}""",
    "holm1979": """@article{holm1979,
  title   = {A simple sequentially rejective multiple test procedure},
  author  = {Holm, Sture},
  journal = {Scandinavian Journal of Statistics},
  year    = {1979},
  volume = {6}, number = {2}, pages = {65--70}
}""",
    "owen2007": """@article{owen2007,
  title   = {The pigeonhole bootstrap},
  author  = {Owen, Art B.},
  journal = {The Annals of Applied Statistics},
  year    = {2007},
  volume = {1}, number = {2}, pages = {386--411}
}""",
    "dubois2024": """@misc{dubois2024,
  title         = {Length-Controlled {AlpacaEval}: A Simple Way to Debias Automatic Evaluators},
  author        = {Dubois, Yann and Galambosi, Bal{\\'a}zs and Liang, Percy and Hashimoto, Tatsunori B.},
  year          = {2024},
  eprint        = {2404.04475},
  archiveprefix = {arXiv}
}""",
    "alpacaeval2023": """@misc{alpacaeval2023,
  title        = {{AlpacaEval}: An Automatic Evaluator of Instruction-following Models},
  author       = {Li, Xuechen and Zhang, Tianyi and Dubois, Yann and Taori, Rohan and Gulrajani, Ishaan
                  and Guestrin, Carlos and Liang, Percy and Hashimoto, Tatsunori B.},
  year         = {2023},
  howpublished = {\\url{https://github.com/tatsu-lab/alpaca_eval}}
}""",
}
"""Key → BibTeX entry of everything that a paragraph can refer to."""
