"""Every command by hand, from plan to destroy, as a new user would: real client libraries, real servers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cluster.inside.kuberay_release import RELEASES
from cluster.load import price_file
from tests.cluster.fakes import FakeGoogle, Fault503
from tests.cluster.terminal import User, sitting


@pytest.fixture
def user(tmp_path: Path) -> Iterator[User]:
    with sitting(tmp_path, FakeGoogle(slow=0)) as user:
        yield user


@pytest.fixture
def applied(user: User) -> User:
    assert user.run("apply", "--yes", "--no-kubernetes").code == 0
    return user


def test_from_plan_to_destroy(user: User) -> None:
    planned = user.run("plan")
    assert planned.code == 2
    assert user.fake.writes == []
    assert "create  cluster/switchyard" in planned.out
    assert "cannot be read before they are enabled; apply does that first, then plans anew." in planned.out

    done = user.run("apply", "--yes", "--no-kubernetes")
    assert done.code == 0
    assert "ok create node-pool/l4-spot" in done.out
    assert "Quota of pool l4: ok. NVIDIA_L4_GPUS in us-central1: limit 16, in use 0; needs 4 at most" in done.out
    assert done.out.endswith("Everything is as the service file wants it.\n")

    again = user.run("plan")
    assert again.code == 0
    assert "Nothing to do" in again.out
    # The same number before and after.
    assert _sum(planned.out) == _sum(done.out) == _sum(again.out)

    gone = user.run("destroy", "--yes")
    assert gone.code == 0
    assert "Kept: apis/my-project: enabled APIs cost nothing" in gone.out
    assert gone.out.endswith("Nothing of the cluster switchyard is left that costs money.\n")
    assert user.fake.everything() == []
    assert user.run("destroy", "--yes").code == 0  # a second time is no error


def test_apply_asks_and_takes_no_for_an_answer(user: User) -> None:
    done = user.run("apply")
    assert done.code == 2
    assert "Apply this? Nobody is there to answer; say --yes." in done.text
    assert user.fake.writes == []


def test_plan_as_json(user: User) -> None:
    user.environ["HF_TOKEN"] = "hf_secret"
    done = user.run("plan", "--output", "json")
    document = json.loads(done.out)
    assert done.code == 2
    verbs = {action["resource"]: action["verb"] for action in document["actions"]}
    assert verbs["secret-version/switchyard-hf-token"] == "create"
    assert document["cost"]["idle"] < document["cost"]["full"]
    assert document["cost"]["prices"]["verified"] is False
    assert "hf_secret" not in done.text


def test_explain_prints_gcloud(user: User) -> None:
    lines = user.run("plan", "--explain").out.splitlines()
    commands = [line for line in lines if not line.startswith("#")]
    assert all(line.startswith(("gcloud ", "printf ")) for line in commands)
    assert any("zones are not known before the APIs are enabled" in line for line in lines)
    pool = next(line for line in commands if "node-pools create l4-spot" in line)
    assert "--accelerator=type=nvidia-l4,count=1,gpu-driver-version=latest" in pool
    assert "--spot" in pool and "--node-taints=nvidia.com/gpu=present:NoSchedule" in pool
    assert any("roles/iam.workloadIdentityUser" in line for line in commands)
    gone = user.run("apply", "--yes", "--no-kubernetes") and user.run("destroy", "--explain").out
    assert "gcloud container clusters delete switchyard --location=us-central1 --project=my-project" in gone
    assert user.fake.billable()  # explained, not done


def test_status(applied: User) -> None:
    rows = json.loads(applied.run("status", "--output", "json").out)
    assert rows["status"] == "ready"
    assert rows["differences"] == 0
    assert rows["pools"]["l4"]["max"] == 4
    assert "as wanted" in applied.run("status").out


def test_the_token_goes_to_secret_manager_and_nowhere_else(user: User) -> None:
    user.environ["HF_TOKEN"] = "hf_secret"
    done = user.run("apply", "--yes", "--no-kubernetes")
    assert done.code == 0
    assert list(user.fake.versions.values()) == [[b"hf_secret"]]
    assert "hf_secret" not in done.text
    assert "hf_secret" not in json.dumps([entry.request for entry in user.fake.journal])  # base64 on the wire


def test_kubeconfig_is_merged(applied: User, tmp_path: Path) -> None:
    path = tmp_path / "kube" / "config"
    path.parent.mkdir()
    other = {"contexts": [{"name": "mine", "context": {}}], "current-context": "mine"}
    path.write_text(yaml.safe_dump(other), encoding="utf-8")
    done = applied.run("kubeconfig", "--to", str(path))
    assert done.code == 0
    written = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert written["current-context"] == "gke_my-project_us-central1_switchyard"
    assert [context["name"] for context in written["contexts"]] == ["mine", "gke_my-project_us-central1_switchyard"]
    assert path.stat().st_mode & 0o777 == 0o600
    assert applied.run("kubeconfig", "--to", str(path)).code == 0  # again: no second entry
    assert len(yaml.safe_load(path.read_text(encoding="utf-8"))["contexts"]) == 2


def test_a_kubeconfig_that_is_none_is_left_alone(applied: User, tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text("a: [", encoding="utf-8")
    done = applied.run("kubeconfig", "--to", str(path))
    assert done.code == 1
    assert "is not YAML; it is left alone" in done.text
    assert path.read_text(encoding="utf-8") == "a: ["


def test_scale_to_zero_and_back(applied: User) -> None:
    full = applied.fake.everything()
    done = applied.run("scale", "--to-zero", "--yes", "--no-kubernetes")
    assert done.code == 0
    # No node can come back by itself, no NAT; plan and apply leave it so.
    cluster = next(iter(applied.fake.clusters.values()))
    assert [(pool.autoscaling.enabled, pool.initial_node_count) for pool in cluster.node_pools] == [(False, 0)] * 3
    assert not any("/routers/" in name for name in applied.fake.compute)
    planned = applied.run("plan")
    assert planned.code == 0
    assert "scaled to zero" in planned.out
    assert "This is the cost when the cluster is up" in planned.out
    assert "Nodes come back." in applied.run("scale", "--resume", "--yes", "--no-kubernetes").out
    again = applied.run("scale", "--resume", "--yes", "--no-kubernetes")
    assert (again.code, "is not scaled to zero." in again.out, "come back" in again.out) == (0, True, False)
    assert applied.fake.everything() == full
    assert [pool.autoscaling.enabled for pool in cluster.node_pools] == [True] * 3
    up = applied.run("plan")
    assert up.code == 0
    assert "This is the cost when the cluster is up" not in up.out


def test_apply_gets_through_a_bad_day_at_google(user: User) -> None:
    user.fake.fail("*Get*", Fault503(), times=2)
    user.fake.fail("compute.networks.POST", Fault503(), after=True)  # made, but the answer is lost
    user.fake.fail("AlertPolicyService.Create*", Fault503(), times=1, after=True)
    user.fake.clock.sleep(0)
    from cluster.config import ClusterConfig
    from cluster.gcp.calls import Caller
    from cluster.workflow import converge
    from tests.cluster.conftest import cloud_on
    from tests.cluster.fakes import in_process
    from tests.cluster.terminal import CLUSTER

    config = ClusterConfig.model_validate(CLUSTER)
    cloud = cloud_on(user.fake, in_process(user.fake, Caller(clock=user.fake.clock)), config)
    converge(config, cloud, token=True)
    titles = [name for name in user.fake.everything() if name.startswith("switchyard: ")]
    assert len(titles) == len(set(titles)) == 4


def test_prices_refresh(applied: User) -> None:
    applied.fake.services |= {"cloudbilling.googleapis.com": 0.0}
    before = applied.run("plan").out
    done = applied.run("prices", "refresh")
    assert done.code == 0
    assert "16 rates for us-central1" in done.out
    assert "Not in the catalogue, still estimates: a2.core" in done.out
    after = applied.run("plan").out
    assert "unverified estimates of list prices" in before
    assert "Prices: list prices from Google's Billing Catalog, 20" in after and "still estimates" not in after
    assert _check(applied, "prices")["state"] == "ok"
    # Cores, memory and the GPU of a g2-standard-8 at the catalogue's prices: 8 x .0301 + 32 x .0031 + .6001.
    assert "0 to 4 x g2-standard-8 at $0.94 an hour" in after
    assert "at $0.85 an hour" in before


def test_a_rate_that_the_catalogue_lacks_is_written_by_hand(applied: User) -> None:
    applied.fake.services |= {"cloudbilling.googleapis.com": 0.0}
    assert applied.run("prices", "refresh").code == 0
    applied.write(pools={"a100": {"machine": "a2-highgpu-1g"}})
    lacking = "a2.core, a2.ram, gpu.nvidia-tesla-a100"
    assert f"still estimates: {lacking}." in applied.run("plan").out
    check = _check(applied, "prices")
    path = price_file()
    assert (check["state"], check["found"].split("estimates: ")[1]) == ("warn", lacking)
    assert check["next"] == f"the Billing Catalog has none of these: write their rates into {path}, regions.us-central1"

    data = json.loads(path.read_text(encoding="utf-8"))
    data["regions"]["us-central1"] |= dict.fromkeys(lacking.split(", "), 1.5)
    path.write_text(json.dumps(data), encoding="utf-8")
    assert _check(applied, "prices")["state"] == "ok"
    assert applied.run("prices", "refresh").code == 0
    assert _check(applied, "prices")["state"] == "ok"  # what was written by hand is still there


def test_another_region_has_not_been_refreshed(applied: User) -> None:
    applied.fake.services |= {"cloudbilling.googleapis.com": 0.0}
    assert applied.run("prices", "refresh").code == 0
    applied.write(region="europe-west4")
    assert "unverified estimates of list prices" in applied.run("plan").out


def test_doctor_names_the_next_step(applied: User) -> None:
    done = applied.run("doctor", "--output", "json")
    checks = {check["what"]: check for check in json.loads(done.out)}
    file = applied.folder / "service.yaml"
    assert done.code == 1
    assert checks["resources"]["state"] == "ok"
    assert checks["KubeRay"] == {
        "state": "fail",
        "what": "KubeRay",
        "found": "not installed",
        "next": f"switchyard cluster install-operator -f {file}",
    }
    assert checks["identity"]["next"] == f"switchyard cluster apply -f {file}"
    assert checks["prices"]["next"] == f"switchyard cluster prices refresh -f {file}"
    applied.kube.down = True
    down = {check["what"]: check for check in json.loads(applied.run("doctor", "--output", "json").out)}
    assert down["API server"]["state"] == "fail"


def test_doctor_before_anything_is_there(user: User) -> None:
    done = user.run("doctor")
    assert done.code == 1
    assert "there is no cluster switchyard" in done.out


def test_every_pinned_release_has_the_same_parts() -> None:
    assert {frozenset(files) for files in RELEASES.values()} == {frozenset(RELEASES["1.7.0"])}


def _check(user: User, what: str) -> dict[str, str]:
    checks = json.loads(user.run("doctor", "--output", "json").out)
    return next(check for check in checks if check["what"] == what)


def _sum(text: str) -> list[str]:
    return next(line.split()[:3] for line in text.splitlines() if line.startswith("sum "))
