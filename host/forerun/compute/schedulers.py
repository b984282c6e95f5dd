"""Announcements from what schedulers publish: Slurm's `squeue --json` and a Kubernetes Job list."""

from datetime import datetime

from forerun.compute.load import Announcement, AnnouncementError

# What a job draws is the scheduler's to say; without that, these figures per CPU and per GPU stand for it.
WATTS_PER_CPU = 8.0
WATTS_PER_GPU = 350.0
POWER_NOTE = "forerun.energy/power-w"
START_NOTE = "forerun.energy/start"
CONFIDENCE_NOTE = "forerun.energy/confidence"
_PENDING_CONFIDENCE = 0.6  # Slurm's expected start of a pending job moves when others end early


def jobs_of_slurm(document: dict) -> list[Announcement]:
    """Jobs of `squeue --json` (Slurm 21.08 and later) that are pending with an expected start, or running.

    Power: `power-w=…` in the job's comment, else its CPUs and GPUs. Raises AnnouncementError for another document.
    """
    jobs = document.get("jobs")
    if not isinstance(jobs, list):
        raise AnnouncementError("this is not the output of squeue --json: it has no list of jobs")
    found = []
    for job in jobs:
        states = job.get("job_state", [])
        state = states if isinstance(states, str) else next(iter(states), "")
        start_s, limit_min = _slurm_number(job.get("start_time")), _slurm_number(job.get("time_limit"))
        if state not in ("PENDING", "RUNNING") or not start_s or not limit_min:
            continue
        confidence = 1.0 if state == "RUNNING" else _PENDING_CONFIDENCE
        found.append(Announcement(f"slurm-{job['job_id']}", _slurm_power_w(job), start_s, 60 * limit_min, confidence))
    return found


def _slurm_number(value) -> float:
    """0 when not set: newer Slurm wraps numbers as {"set", "infinite", "number"}, older writes them plainly."""
    if isinstance(value, dict):
        return float(value.get("number", 0)) if value.get("set") and not value.get("infinite") else 0.0
    return float(value or 0)


def _slurm_power_w(job: dict) -> float:
    comment = job.get("comment") or ""
    for word in comment.replace(",", " ").split():
        if word.startswith("power-w="):
            return float(word.removeprefix("power-w="))
    gpus = 0.0
    for part in (job.get("tres_req_str") or "").split(","):
        name, _, count = part.partition("=")
        if name == "gres/gpu":
            gpus = float(count)
    return WATTS_PER_CPU * _slurm_number(job.get("cpus")) + WATTS_PER_GPU * gpus


def jobs_of_kubernetes(document: dict, now_s: float) -> list[Announcement]:
    """Jobs of a batch/v1 JobList (`kubectl get jobs -o json`) that are not finished and say how long they may run.

    Annotations `forerun.energy/power-w`, `/start` (RFC 3339) and `/confidence` say what Kubernetes does not know; the
    duration is spec.activeDeadlineSeconds. Without a start, a running job has begun and a suspended one is left out.
    """
    if document.get("kind") not in ("JobList", "List"):
        raise AnnouncementError(f"this is a {document.get('kind')!r}, not a JobList of batch/v1")
    found = []
    for item in document.get("items", []):
        meta, spec, status = item["metadata"], item["spec"], item.get("status", {})
        notes, duration_s = meta.get("annotations", {}), spec.get("activeDeadlineSeconds")
        start = notes.get(START_NOTE) or status.get("startTime")
        if status.get("completionTime") or not duration_s or (spec.get("suspend") and START_NOTE not in notes):
            continue
        start_s = datetime.fromisoformat(start).timestamp() if start else now_s
        name, confidence = f"k8s-{meta['namespace']}-{meta['name']}", float(notes.get(CONFIDENCE_NOTE, 0.9))
        found.append(Announcement(name, _kubernetes_power_w(notes, spec), start_s, float(duration_s), confidence))
    return found


def _kubernetes_power_w(notes: dict, spec: dict) -> float:
    if POWER_NOTE in notes:
        return float(notes[POWER_NOTE])
    watts = 0.0
    for container in spec["template"]["spec"]["containers"]:
        asked = {
            **container.get("resources", {}).get("limits", {}),
            **container.get("resources", {}).get("requests", {}),
        }
        cpu = str(asked.get("cpu", 0))
        cpus = float(cpu[:-1]) / 1000 if cpu.endswith("m") else float(cpu)
        watts += WATTS_PER_CPU * cpus + WATTS_PER_GPU * float(asked.get("nvidia.com/gpu", 0))
    return watts * int(spec.get("parallelism", 1))
