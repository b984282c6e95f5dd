"""Announcements from what schedulers publish: Slurm's `squeue --json` and a Kubernetes Job list."""

from collections.abc import Callable
from datetime import datetime

from forerun.compute.load import Announcement, AnnouncementError
from forerun.compute.sources import UNFORESEEN, brief

# What a job draws is the scheduler's to say; without that, these figures per CPU and per GPU stand for it.
WATTS_PER_CPU = 8.0
WATTS_PER_GPU = 350.0
POWER_NOTE = "forerun.energy/power-w"
START_NOTE = "forerun.energy/start"
CONFIDENCE_NOTE = "forerun.energy/confidence"
_SLURM_NOT_SET = 2**32 - 2  # NO_VAL; INFINITE is one more
_SLURM_HELD = ("JobHeldUser", "JobHeldAdmin", "DependencyNeverSatisfied", "BadConstraints")
_OVERDUE_S = 300.0
_PENDING_CONFIDENCE = 0.6  # Slurm's expected start of a pending job moves when others end early


_SUFFIXES = {"n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18,
             "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50, "Ei": 2.0**60}  # fmt: skip

# What a list holds: the jobs that can be read, and by name a sentence for each that cannot. One that has not even a
# name stands under UNNAMED and its place in the list.
Listed = tuple[list[Announcement], dict[str, str]]
UNNAMED = "entry "
_LONGEST_NAME = 128  # as in an announcement


def jobs_of_slurm(document: dict, now_s: float) -> Listed:
    """Listed of `squeue --json` (Slurm 21.08 and later): the jobs that are pending with an expected start, or running.
    A start that was expected more than five minutes ago is expected no more.

    Power: `power-w=…` in the job's comment, else its CPUs and GPUs. A job without a time limit is left out: nobody
    knows when it ends; so is one that is held. Raises AnnouncementError for another document, and for one that is none
    because the controller did not answer.
    """
    if errors := document.get("errors"):
        raise AnnouncementError(f"squeue says that its list is not whole: {brief(repr(errors), 200)}")
    jobs = document.get("jobs")
    if not isinstance(jobs, list):
        raise AnnouncementError("this is not the output of squeue --json: it has no list of jobs")
    return _each(jobs, lambda name, job: _slurm_job(name, job, now_s), lambda job: _named("slurm-", job["job_id"]))


def _named(prefix: str, *parts) -> str:
    """Raises ValueError for what is no name."""
    if not all(type(part) in (str, int) and part != "" for part in parts):
        raise ValueError(f"its name is {brief(repr(parts), 80)}")
    name = prefix + "-".join(str(part) for part in parts)
    if len(name) > _LONGEST_NAME or not name.isprintable():
        raise ValueError(f"its name is {brief(repr(name), 80)}")
    return name


def _each(items: list, read: Callable, name: Callable) -> Listed:
    """What can be read of each; one that cannot does not take the others with it."""
    found, odd = [], {}
    for index, item in enumerate(items):
        called = f"{UNNAMED}{index + 1}"
        try:
            called = name(item)
        except UNFORESEEN as problem:
            odd[called] = brief(f"{called} of the list is no job ({problem!r})")
            continue
        try:
            job = read(called, item)
        except AnnouncementError as problem:
            odd[called] = brief(str(problem))
        except UNFORESEEN as problem:
            odd[called] = brief(f"{called} is not as its scheduler publishes jobs ({problem!r})")
        else:
            found += [job] if job else []
    return found, odd


def _slurm_job(name: str, job: dict, now_s: float) -> Announcement | None:
    states = job.get("job_state") or []
    states = {states} if isinstance(states, str) else set(states)  # a list since data parser v0.0.40
    running = "RUNNING" in states and "COMPLETING" not in states
    start_s, end_s, limit_min = (_slurm_number(job.get(key)) for key in ("start_time", "end_time", "time_limit"))
    if not (running or "PENDING" in states) or not start_s or not limit_min:
        return None
    if not running and (job.get("hold") or job.get("state_reason") in _SLURM_HELD or start_s < now_s - _OVERDUE_S):
        return None  # whatever start was expected before somebody held it, or Slurm thought of another
    # Whoever extends a running job moves its end, not its limit.
    length_s = end_s - start_s if running and end_s > start_s else 60 * limit_min
    return Announcement(name, _slurm_power_w(job), start_s, length_s, 1.0 if running else _PENDING_CONFIDENCE)


def _slurm_number(value) -> float:
    """0 when not set or without limit: newer Slurm wraps numbers as {"set", "infinite", "number"}, some of the same
    document are plain, and plain ones stand for "not set" and "infinite" with the last numbers of 32 bits."""
    if isinstance(value, dict):
        value = value.get("number") if value.get("set") and not value.get("infinite") else 0
    number = float(value or 0)
    return 0.0 if number >= _SLURM_NOT_SET else number


def _slurm_power_w(job: dict) -> float:
    comment = job.get("comment") or ""
    if isinstance(comment, dict):  # of accounting records, and of what passes them on
        comment = comment.get("job") or ""
    for word in comment.replace(",", " ").split():
        if word.startswith("power-w="):
            return float(word.removeprefix("power-w="))
    gpus = _slurm_gpus(job.get("tres_alloc_str")) or _slurm_gpus(job.get("tres_req_str"))
    if not gpus:  # a site that does not account for GPUs has them only as they were asked for
        nodes, tasks = _slurm_number(job.get("node_count")), _slurm_number(job.get("tasks"))
        for name, times in (("tres_per_job", 1), ("tres_per_node", nodes), ("tres_per_task", tasks)):
            gpus = gpus or times * _slurm_gpus(job.get(name))
    return WATTS_PER_CPU * _slurm_number(job.get("cpus")) + WATTS_PER_GPU * gpus


def _slurm_gpus(tres) -> float:
    """Of `cpu=8,gres/gpu=2`, `gres/gpu:a100=2`, `gres/gpu:a100:2`, `gres:gpu:2` or `gres/gpu`, which is one."""
    plain = typed = 0.0
    for part in (tres or "").split(","):
        part, _, _ = part.strip().partition("(")  # which of them: 2(IDX:0-1)
        name, *rest = part.replace("gres:", "gres/").replace("=", ":").split(":")
        if name == "gres/gpu":
            counted = bool(rest) and rest[-1].isdigit()
            count = float(rest.pop()) if counted else 1.0
            if rest:
                typed += count
            else:
                plain += count
    return plain or typed  # the plain count is the sum of those by type; some sites configure types only


def jobs_of_kubernetes(document: dict, now_s: float) -> Listed:
    """Listed of a batch/v1 JobList (`kubectl get jobs -o json`): the jobs that neither ended nor failed and say how
    long they may run.

    Annotations `forerun.energy/power-w`, `/start` (RFC 3339) and `/confidence` say what Kubernetes does not know; the
    duration is spec.activeDeadlineSeconds. Without a start, a running job has begun and a suspended one is left out.
    Raises AnnouncementError for another document.
    """
    if (document.get("metadata") or {}).get("continue"):
        raise AnnouncementError("this is only the first page of the JobList: ask for it without a limit")
    if document.get("kind") not in ("JobList", "List"):
        raise AnnouncementError(f"this is a {brief(repr(document.get('kind')), 80)}, not a JobList of batch/v1")
    items = document.get("items") or []
    if not isinstance(items, list):
        raise AnnouncementError("this is no JobList of batch/v1: its items are no list")
    items = [item for item in items if not isinstance(item, dict) or item.get("kind", "Job") == "Job"]
    return _each(items, lambda name, item: _kubernetes_job(name, item, now_s),
                 lambda item: _named("k8s-", item["metadata"]["namespace"], item["metadata"]["name"]))  # fmt: skip


def _kubernetes_job(name: str, item: dict, now_s: float) -> Announcement | None:
    spec, status = item["spec"], item.get("status") or {}
    notes, pod = item["metadata"].get("annotations") or {}, spec["template"]["spec"]
    duration_s = spec.get("activeDeadlineSeconds") or pod.get("activeDeadlineSeconds")
    if item["metadata"].get("deletionTimestamp") or _over(status) or not duration_s:
        return None
    if spec.get("suspend") and START_NOTE not in notes:
        return None
    # One that began later than it was to, or is to do nothing before a time: the later of the two.
    starts = [_utc_s(name, start) for start in (notes.get(START_NOTE), status.get("startTime")) if start]
    start_s = max(starts, default=now_s)
    if spec.get("suspend") and start_s < now_s - _OVERDUE_S:
        return None  # whoever was to resume it then has not
    confidence = float(notes.get(CONFIDENCE_NOTE, 0.9))
    return Announcement(name, _kubernetes_power_w(notes, spec, status), start_s, float(duration_s), confidence)


def _utc_s(name: str, start: str) -> float:
    at = datetime.fromisoformat(start)
    if at.tzinfo is None:
        raise AnnouncementError(f"{name}: its start {start} has no offset; write RFC 3339, as 2026-01-31T18:00:00Z")
    return at.timestamp()


def _over(status: dict) -> bool:
    """A job that failed has no completionTime: only its conditions say so, the two …Target ones before its pods end."""
    over = {item.get("type") for item in status.get("conditions") or [] if item.get("status") == "True"}
    return bool(status.get("completionTime")) or bool(
        over & {"Complete", "Failed", "FailureTarget", "SuccessCriteriaMet"}
    )


def _kubernetes_power_w(notes: dict, spec: dict, status: dict) -> float:
    if POWER_NOTE in notes:
        return float(notes[POWER_NOTE])
    pod = spec["template"]["spec"]
    beside = [container for container in pod.get("initContainers") or [] if container.get("restartPolicy") == "Always"]
    each = [_kubernetes_asked(container) for container in [*pod["containers"], *beside]]
    whole = _kubernetes_asked(pod)  # since 1.32 a pod may ask for all its containers together
    cpus = whole["cpu"] if "cpu" in whole else sum(asked.get("cpu", 0.0) for asked in each)
    gpus = sum(count for asked in each for name, count in asked.items() if name.endswith("/gpu"))  # of any vendor
    return (WATTS_PER_CPU * cpus + WATTS_PER_GPU * gpus) * _kubernetes_pods(spec, status)


def _kubernetes_asked(what: dict) -> dict[str, float]:
    """CPUs and GPUs that a container or a pod asks for, by resource; with limits alone it asks for those."""
    resources = what.get("resources") or {}
    asked = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    return {name: _quantity(value) for name, value in asked.items() if name == "cpu" or name.endswith("/gpu")}


def _quantity(value) -> float:
    """A Kubernetes quantity, for example 500m, 2 or 1.5Ki."""
    text = str(value).strip()
    suffix = text.lstrip("+-.0123456789")
    if suffix in _SUFFIXES:
        return float(text.removesuffix(suffix)) * _SUFFIXES[suffix]
    return float(text)  # with an exponent, or none


def _kubernetes_pods(spec: dict, status: dict) -> int:
    """How many run at once: `parallelism`, and no more than are still to complete (Kubernetes, batch/v1 JobSpec)."""
    parallelism, completions = (spec.get(key) for key in ("parallelism", "completions"))
    pods = 1 if parallelism is None else int(parallelism)
    return pods if completions is None else min(pods, max(0, int(completions) - int(status.get("succeeded") or 0)))
