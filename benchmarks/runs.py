"""Accuracy runs: each a process that prints one JSON line, several at a time, remembered when done."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from benchmarks.machine import ROOT, source_hash

Spec = dict[str, Any]
"""What a run does, in JSON values; see `benchmarks.task`."""

Result = dict[str, Any]


class RunFailedError(Exception):
    """A run ended with an error."""


def key(spec: Spec) -> str:
    """The name a run is remembered by: its configuration, in one order."""
    return json.dumps(spec, sort_keys=True, separators=(",", ":"))


@dataclass
class Runs:
    """Does runs, or finds them among those already done with the same source.

    Attributes:
        folders: data set → the folder it lies in; no part of a run's name.
        known: name → the source's hash, the result, the seconds.
        save: called after each run, so that an interrupted call goes on where it stopped.
    """

    jobs: int
    known: dict[str, Any]
    save: Callable[[], None]
    say: Callable[[str], None]
    folders: dict[str, str] = field(default_factory=dict)

    def do(self, specs: Sequence[Spec]) -> list[Result]:
        """The results, in the order of ``specs``.

        Raises:
            RunFailedError: one of them failed; the others' results are kept.
        """
        source = source_hash()
        wanted = {key(spec): spec for spec in specs}
        todo = {name: spec for name, spec in wanted.items() if not self._has(name, source)}
        self.say(f"  {len(wanted)} runs, {len(wanted) - len(todo)} of them done before")
        results = {name: self.known[name]["result"] for name in wanted if name not in todo}
        failed: list[str] = []
        with ThreadPoolExecutor(self.jobs) as pool:
            waiting = {pool.submit(self._run, spec): name for name, spec in todo.items()}
            try:
                for future in as_completed(waiting):
                    name = waiting[future]
                    try:
                        results[name], seconds = future.result()
                    except RunFailedError as error:
                        failed.append(str(error))
                        self.say(f"  failed: {name}")
                        continue
                    self._keep(name, source, results[name], seconds)
                    count = len(results)
                    self.say(
                        f"  {count}/{len(wanted)} {brief(name, results[name])} ({seconds:.0f} s)"
                    )
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        if failed:
            raise RunFailedError("; ".join(failed))
        return [results[key(spec)] for spec in specs]

    def _has(self, name: str, source: str) -> bool:
        return name in self.known and self.known[name]["source"] == source

    def _keep(self, name: str, source: str, result: Result, seconds: float) -> None:
        if source_hash() != source:
            self.say("  plait's source changed meanwhile: this run will be made again next time")
            return
        self.known[name] = {"source": source, "result": result, "seconds": round(seconds, 1)}
        self.save()

    def _run(self, spec: Spec) -> tuple[Result, float]:
        told = json.dumps({**spec, "folder": self.folders[spec["data"]]})
        began = perf_counter()
        command = [sys.executable, "-m", "benchmarks.task", told]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RunFailedError(f"{key(spec)}: {done.stderr.strip()[-400:]}")
        return json.loads(done.stdout.strip().splitlines()[-1]), perf_counter() - began


def brief(name: str, result: Mapping[str, Any]) -> str:
    spec = json.loads(name)
    figures = " ".join(f"{metric} {result['all'][metric]:.3f}" for metric in result["all"])
    options = " ".join(f"{k}={v}" for k, v in spec.get("options", {}).items())
    return f"{spec['data']} {spec['kind']} {options} seed {spec['seed']}: {figures}"
