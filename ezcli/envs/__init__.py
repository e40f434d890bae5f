"""Environments: the Atari 100k benchmark, two small worlds for a CPU, and a door for your own.

Reading order:

    protocol   what the trainer asks of an environment
    settings   which game, and the rules of its episodes
    atari      ALE under the Atari 100k protocol
    games      the 26 games; random and human scores
    catch      ten pixels by five: learned in a minute
    keydoor    a delayed reward: what the value prefix is for
    make       settings -> environment, including a user's own class
    vector     many environments in lock step, restarted, checked, saved and restored

Nothing here knows networks, search or runs.
"""
