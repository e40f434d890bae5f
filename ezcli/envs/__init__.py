"""Environments: families of games, two small games for a CPU, and a user's own class.

Reading order:

    protocol   what the trainer asks of an environment
    settings   the rules of episodes that every environment has
    suite      a family of environments, as one value
    suites     the suites that there are
    make       settings -> environment
    checked    the guard that looks at every answer of an environment
    restored   settings of the process that an environment must leave as they were
    vector     many environments in lock step, restarted, saved and restored

    atari_suite, atari           the 26 games, random and human scores; ALE under their protocol
    small_suites, catch, keydoor two games of a few pixels
    gym_suite, gym, gym_spaces   any environment of Gymnasium, by its id
    custom_suite, custom, code   a user's own class, and the checksums of its files

Nothing here knows networks, search or runs.
"""
