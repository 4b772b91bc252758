#!/usr/bin/env python3
"""Runs eplb-collect as several processes on this host, and breaks some of them off.

usage: test_cluster.py FOLDER_OF_THE_PROGRAMS
"""

import filecmp
import json
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

TOOLS = pathlib.Path(sys.argv.pop(1)).resolve()
MODELS = pathlib.Path(__file__).resolve().parent.parent / "data" / "models"
SMALL = ["--preset", "mixtral-8x7b", "--num_layers", "3", "--ep_size", "4", "--iterations", "4"]
ENDLESS = ["--preset", "mixtral-8x7b", "--num_layers", "3", "--ep_size", "6", "--load_balancer",
           "six.yaml", "--iterations", "100000"]
# how long a survivor may take on a busy machine, with the limits below
BOUND = 60
LIMITS = ["--silence_limit", "5", "--meeting_limit", "10", "--threads", "1"]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment(**variables):
    """Ours, without what a launcher or a recording would set."""
    foreign = re.compile("EPLB_|EXPERT_STATISTIC|SLURM_|OMPI_|PMI_|MASTER_|RANK$|WORLD_SIZE$|LOCAL_RANK$")
    kept = {key: value for key, value in os.environ.items() if not foreign.match(key)}
    return {**kept, **{key: str(value) for key, value in variables.items()}}


class Cluster:
    """Processes of one run, started at once; each writes into files of its own."""

    def __init__(self, size, options, variables=None):
        port = free_port()
        variables = variables or (lambda rank: {
            "EPLB_RANK": rank, "EPLB_WORLD_SIZE": size, "EPLB_MASTER": f"127.0.0.1:{port}"})
        self.processes = []
        for rank in range(size):
            given = options(rank) if callable(options) else options
            with open(f"stdout.{rank}", "wb") as out, open(f"stderr.{rank}", "wb") as err:
                self.processes.append(subprocess.Popen(
                    [TOOLS / "eplb-collect", *given, *LIMITS],
                    env=environment(**variables(rank)), stdout=out, stderr=err))

    def wait(self):
        """Exit codes and what each said on stderr."""
        try:
            codes = [process.wait(timeout=5 * BOUND) for process in self.processes]
        finally:
            self.kill()
        said = [pathlib.Path(f"stderr.{rank}").read_text(encoding="utf-8")
                for rank in range(len(codes))]
        return codes, said

    def kill(self):
        for process in self.processes:
            process.kill()
            process.wait()


def run(*options, **variables):
    return subprocess.run([TOOLS / "eplb-collect", *options], env=environment(**variables),
                          capture_output=True, text=True, timeout=5 * BOUND, check=False)


class ClusterTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(folder.name)
        pathlib.Path("six.yaml").write_text("num_slots: 12\nlayer_updates_per_iter: 1\n",
                                            encoding="utf-8")

    def assert_same_folders(self, one, other):
        names = sorted(os.listdir(one))
        self.assertEqual(names, sorted(os.listdir(other)))
        self.assertIn("meta_info.json", names)
        self.assertEqual(filecmp.cmpfiles(one, other, names, shallow=False), (names, [], []))

    def assert_all_well(self, cluster):
        codes, said = cluster.wait()
        self.assertEqual(codes, [0] * len(codes), said)
        self.assertEqual(said[1:], [""] * (len(said) - 1))  # rank 0 speaks for all
        return said[0]

    def test_the_statistics_are_those_of_one_process(self):
        online = ["--load_balancer", "six.yaml", "--max_num_tokens", "99"]
        for more in (["--raw"], ["--raw", *online]):
            self.assertEqual(run(*SMALL, *more, "--expert_statistic_path", "one").returncode, 0)
            for size in (2, 4):
                name = f"by{size}"
                said = self.assert_all_well(
                    Cluster(size, [*SMALL, *more, "--expert_statistic_path", name]))
                self.assertIn(f"rank 0 of {size}, by our own variables", said)
                self.assertIn(f"recorded in {name}", said)
                self.assert_same_folders("one", name)
            done = run(*SMALL, *more, "--devices", "2", "--expert_statistic_path", "threads")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assert_same_folders("one", "threads")

    def test_a_stream_comes_out_of_rank_0(self):
        alone = run(*SMALL, "--expert_statistic_path", "-")
        self.assert_all_well(Cluster(2, [*SMALL, "--expert_statistic_path", "-"]))
        self.assertEqual(pathlib.Path("stdout.0").read_text(encoding="utf-8"), alone.stdout)
        self.assertEqual(pathlib.Path("stdout.1").read_text(encoding="utf-8"), "")

    def test_a_checkpoints_experts_and_sequences_are_dealt_out(self):
        with open("dataset.json", "w", encoding="utf-8") as out:
            for i in range(7):
                out.write(json.dumps({"input_ids": [(5 * i + 3 * t) % 60 for t in range(4 + 3 * i)],
                                      "output_ids": [i, 9, 31]}) + "\n")
        model = ["--model", str(MODELS / "deepseek_v3"), "--dataset", "dataset.json", "--ep_size",
                 "2", "--tokens_per_rank", "8", "--raw"]
        self.assertEqual(run(*model, "--expert_statistic_path", "one").returncode, 0)
        self.assert_all_well(Cluster(2, [*model, "--expert_statistic_path", "two"]))
        self.assert_same_folders("one", "two")

        codes, said = Cluster(3, [*model, "--expert_statistic_path", "two"]).wait()
        self.assertEqual(codes, [1, 1, 1])
        self.assertTrue(all("--ep_size 2 cannot be dealt out to 3 devices" in text for text in said), said)
        self.assert_same_folders("one", "two")
        codes, said = Cluster(2, [*model[:-1], "--resume", "--state", "state"]).wait()
        self.assertEqual(codes, [2, 2])
        self.assertIn("keeps no state", said[0])

    def test_launchers_are_understood(self):
        self.assertEqual(run(*SMALL, "--expert_statistic_path", "one").returncode, 0)
        port = free_port()
        launchers = {
            "torchrun": lambda rank: {"RANK": rank, "WORLD_SIZE": 2, "LOCAL_RANK": rank,
                                      "MASTER_ADDR": "localhost", "MASTER_PORT": port},
            "OpenMPI": lambda rank: {"OMPI_COMM_WORLD_RANK": rank, "OMPI_COMM_WORLD_SIZE": 2,
                                     "OMPI_COMM_WORLD_LOCAL_RANK": rank,
                                     "EPLB_MASTER": "file:meeting"},
            "PMI": lambda rank: {"PMI_RANK": rank, "PMI_SIZE": 2, "MASTER_ADDR": "127.0.0.1",
                                 "MASTER_PORT": port},
            "Slurm": lambda rank: {"SLURM_PROCID": rank, "SLURM_STEP_NUM_TASKS": 2,
                                   "SLURM_LOCALID": rank, "SLURM_JOB_ID": os.getpid(), "SLURM_STEP_ID": 0,
                                   "SLURM_STEP_NODELIST": "localhost"},
        }
        for name, variables in launchers.items():
            with self.subTest(name):
                said = self.assert_all_well(
                    Cluster(2, [*SMALL, "--expert_statistic_path", name], variables))
                self.assertRegex(said, f"rank 0 of 2, by .*{name}")
                self.assert_same_folders("one", name)
        # a script under sbatch is one process
        done = run(*SMALL, SLURM_PROCID=0, SLURM_NTASKS=8)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_processes_that_do_not_belong_together_all_end(self):
        codes, said = Cluster(2, lambda rank: [*SMALL, "--seed", str(rank)]).wait()
        self.assertEqual(codes, [1, 1])
        for text in said:
            self.assertRegex(text, "rank 1 .*--seed 1.*rank 0 .*--seed 0")
        codes, said = Cluster(3, SMALL).wait()
        self.assertEqual(codes, [1, 1, 1])
        self.assertTrue(any("--ep_size 4 cannot be dealt out to 3 devices" in text for text in said))

    def test_a_process_that_never_comes_is_named(self):
        done = run(*SMALL, "--meeting_limit", "1", EPLB_RANK=0, EPLB_WORLD_SIZE=3,
                   EPLB_MASTER=f"127.0.0.1:{free_port()}")
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"ranks? 1(,| and) 2 of 3 did not come")

    def test_an_interrupt_while_waiting_for_others_leaves_nothing_behind(self):
        meeting = pathlib.Path("meeting").absolute()
        for rank in (0, 1):
            with self.subTest(rank=rank):
                process = subprocess.Popen(
                    [TOOLS / "eplb-collect", *SMALL], stderr=subprocess.PIPE, text=True,
                    env=environment(EPLB_RANK=rank, EPLB_WORLD_SIZE=2, EPLB_MASTER=f"file:{meeting}"))
                self.addCleanup(process.kill)
                deadline = time.monotonic() + BOUND
                while rank == 0 and not meeting.exists() and time.monotonic() < deadline:
                    time.sleep(0.05)
                time.sleep(0.3)
                process.send_signal(signal.SIGTERM)
                _, said = process.communicate(timeout=BOUND)
                self.assertEqual(process.returncode, 130, said)
                if rank == 0:  # who speaks for all
                    self.assertRegex(said, r"nothing was recorded: rank 0 .*: it was interrupted")
                self.assertFalse(meeting.exists())

    def test_what_is_missing_in_the_environment_is_said(self):
        for variables, text in (({"EPLB_RANK": 0}, "EPLB_WORLD_SIZE"),
                                ({"EPLB_RANK": 0, "EPLB_WORLD_SIZE": 2}, "--master"),
                                ({"EPLB_RANK": 2, "EPLB_WORLD_SIZE": 2}, "EPLB_RANK"),
                                ({"RANK": "x", "WORLD_SIZE": 2}, "RANK")):
            done = run(*SMALL, **variables)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn(text, done.stderr)

    def test_where_one_dies_all_end_and_the_old_statistics_stay(self):
        short = [option if option != "100000" else "2" for option in ENDLESS]
        self.assertEqual(run(*short, "--expert_statistic_path", "old").returncode, 0)
        generator = random.Random(5)
        for death in (signal.SIGKILL, signal.SIGSTOP, signal.SIGKILL, signal.SIGKILL):
            self.assertEqual(run(*short, "--expert_statistic_path", "stats").returncode, 0)
            victim = generator.randrange(3)
            with self.subTest(death=death, victim=victim):
                cluster = Cluster(3, [*ENDLESS, "--expert_statistic_path", "stats"])
                self.addCleanup(cluster.kill)
                time.sleep(generator.uniform(0, 1))
                cluster.processes[victim].send_signal(death)
                start = time.monotonic()
                others = [rank for rank in range(3) if rank != victim]
                codes = [cluster.processes[rank].wait(timeout=BOUND) for rank in others]
                self.assertLess(time.monotonic() - start, BOUND)
                cluster.kill()
                _, said = cluster.wait()
                self.assertEqual(codes, [1, 1], said)
                for rank in others:
                    self.assertRegex(said[rank], f"error: .*rank {victim} ")
                self.assert_same_folders("old", "stats")

    def test_an_interrupt_of_one_ends_all_with_what_there_is(self):
        cluster = Cluster(3, [*ENDLESS, "--expert_statistic_path", "stats"])
        self.addCleanup(cluster.kill)
        while ("MoE layers" not in pathlib.Path("stderr.0").read_text(encoding="utf-8")
               and cluster.processes[0].poll() is None):
            time.sleep(0.05)
        time.sleep(1)
        cluster.processes[1].send_signal(signal.SIGTERM)
        codes, said = cluster.wait()
        self.assertEqual(codes, [130, 130, 130], said)
        self.assertRegex(said[0], r"recorded in stats")
        self.assertTrue(pathlib.Path("stats/meta_info.json").exists())
        report = subprocess.run([TOOLS / "eplb-report", "stats"], capture_output=True, check=False)
        self.assertEqual(report.returncode, 0, report.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
