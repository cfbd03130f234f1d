"""A program that has forgotten its guard."""

import dishrack as mp


def dry():
    print("dried")


process = mp.Process(target=dry)
process.start()
process.join()
print("exit code", process.exitcode)
