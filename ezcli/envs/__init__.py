"""Environments: the Atari 100k benchmark, two small worlds for a CPU, and a door for your own.

Reading order:

    protocol   what the trainer asks of an environment
    settings   which game, and the rules of its episodes
    atari      ALE under the Atari 100k protocol
    games      the 26 games; random and human scores
    catch      ten pixels by five: learned in minutes
    keydoor    a delayed reward: what the value prefix is for
    make       settings -> environment, including a user's own class
    checked    the guard that looks at every answer of an environment
    restored   settings of the process that an environment must leave as they were
    vector     many environments in lock step, restarted, saved and restored

Nothing here knows networks, search or runs.
"""
