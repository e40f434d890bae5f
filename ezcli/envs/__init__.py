"""Environments: suites of games, two small games for a CPU, and users' own classes.

Reading order:

    protocol   the interface of an environment
    settings   settings that all environments share
    suite      the interface of a suite, a family of environments
    suites     the list of suites
    make       settings -> environment
    checked    checks of everything that an environment returns
    restored   restores settings of the process that an environment may change
    vector     several environments in lock step, restarted, saved and restored

    atari_suite, atari           the 26 games, random and human scores; ALE under their protocol
    small_suites, catch, keydoor two games of a few pixels
    gym_suite, gym, gym_spaces   any environment of Gymnasium, by its id
    custom_suite, custom, code   a user's class, and the checksums of its files

Nothing here depends on networks, search or runs.
"""
