"""Workers as steps of a Slurm job, or as jobs of their own where there is none:

harness run --plugin seal --devices cuda:x8 --executor slurm_executor:Slurm --address=--partition=gpu
"""

import shlex
import socket

from harness.workers.executors import Processes


class Slurm(Processes):
    name = "slurm"
    start_within = 24 * 3600.0  # a job may wait for a day in its queue

    def listen(self):
        return socket.gethostbyname(socket.gethostname())  # an address of this machine that compute nodes reach

    def command(self, place, worker):
        gpu = ["--gpus=1"] if place.startswith("cuda") else []
        return ["srun", "--ntasks=1", "--cpus-per-task=1", *gpu, *shlex.split(self.address), *worker]
