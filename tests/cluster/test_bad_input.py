"""What goes wrong, and the one message each of them gets: what happened, the next step, exit code "
"1, nothing half-made."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.inside.objects import path_of
from cluster.load import price_file
from tests.cluster.fakes import FakeGoogle, Fault
from tests.cluster.terminal import User, sitting


@pytest.fixture
def fake() -> FakeGoogle:
    return FakeGoogle(slow=0)


@pytest.fixture
def user(tmp_path: Path, fake: FakeGoogle) -> Iterator[User]:
    with sitting(tmp_path, fake) as user:
        yield user


def ready(fake: FakeGoogle) -> None:
    """APIs enabled, nothing else there."""
    from cluster.wanted.resources import BASE_APIS

    fake.services = dict.fromkeys(BASE_APIS, 0.0)


def nothing_made(fake: FakeGoogle) -> bool:
    return fake.everything() == []


def test_no_credentials(user: User, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    user.environ.clear()
    # Nothing to find: no key file, no gcloud, no metadata server.
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    done = user.run("plan")
    assert done.code == 1
    assert done.text.startswith("switchyard: No usable Google credentials: File ")
    assert done.text.endswith("was not found. Log in with: gcloud auth application-default login\n")


@pytest.mark.parametrize("missing", ["SWITCHYARD_GOOGLE_GRPC", "SWITCHYARD_GOOGLE_REST"])
def test_half_a_stand_in(user: User, missing: str) -> None:
    del user.environ[missing]
    done = user.run("plan")
    assert done.code == 1
    assert "half of the calls would go to Google; set both or neither." in done.text


def test_a_replacement_of_nothing(user: User) -> None:
    done = user.run("plan", "--replace", "foo")
    assert done.code == 1
    assert "resource/foo" in done.text and "--replace names something that the service file" in done.text


def test_wrong_project(user: User) -> None:
    user.write(project="another-project")
    done = user.run("apply", "--yes")
    assert done.code == 1
    assert done.text == (
        "switchyard: Google does not show the project 'another-project' to these credentials: it does not "
        "exist, or you "
        "lack the role Viewer on it. Check cluster.project, and who you are with: gcloud auth list "
        "(serviceusage.BatchGetServices: Permission denied on resource project another-project)\n"
    )
    assert nothing_made(user.fake)


def test_the_service_usage_api_itself_is_disabled(user: User) -> None:
    user.fake.fail(
        "ServiceUsage.*",
        Fault(403, "Service Usage API has not been used.", "SERVICE_DISABLED", service="serviceusage.googleapis.com"),
    )
    done = user.run("apply", "--yes")
    assert done.code == 1
    assert done.text == (
        "switchyard: serviceusage.BatchGetServices: Service Usage API has not been used. Enable it with: "
        "gcloud services "
        "enable serviceusage.googleapis.com\n"
    )
    assert nothing_made(user.fake)


def test_an_api_may_not_be_enabled(user: User) -> None:
    user.fake.fail("ServiceUsage.BatchEnable*", Fault(403, "Permission 'serviceusage.services.enable' denied."))
    done = user.run("apply", "--yes")
    assert done.code == 1
    assert done.text.endswith(
        "switchyard: serviceusage.BatchEnableServices: Permission 'serviceusage.services.enable' denied\n"
    )
    assert nothing_made(user.fake)


def test_quota_zero(user: User) -> None:
    ready(user.fake)
    user.fake.quotas["us-central1"] |= {"NVIDIA_L4_GPUS": (0.0, 0.0), "PREEMPTIBLE_NVIDIA_L4_GPUS": (16.0, 0.0)}
    done = user.run("apply", "--yes")
    assert done.code == 1
    assert done.text == (
        "switchyard: node-pool/l4: NVIDIA_L4_GPUS in us-central1: limit 0, in use 0; g2-standard-8 needs 1. "
        "Here there is "
        "quota for spot: only. Regions with the GPU and quota for it: europe-west4. Ask for more: gcloud beta quotas "
        "preferences create --service=compute.googleapis.com --project=my-project "
        "--quota-id=NVIDIA-L4-GPUS-per-project-region --dimensions=region=us-central1 --preferred-value=4\n"
    )
    assert nothing_made(user.fake)


def test_quota_zero_everywhere_together(user: User) -> None:
    ready(user.fake)
    user.fake.all_regions_gpus = (0, 0)
    done = user.run("plan")
    assert done.code == 1
    assert (
        "GPUS_ALL_REGIONS: limit 0, in use 0; g2-standard-8 needs 1. Ask for more: gcloud beta quotas "
        "preferences create "
        "--service=compute.googleapis.com --project=my-project --quota-id=GPUS-ALL-REGIONS-per-project "
        "--preferred-value=4"
    ) in done.text


def test_bucket_name_taken_by_another_project(user: User) -> None:
    ready(user.fake)
    user.fake.foreign_buckets.add("my-project-switchyard-models")
    done = user.run("apply", "--yes")
    assert done.code == 1
    assert done.text == (
        "switchyard: bucket/my-project-switchyard-models: a bucket called my-project-switchyard-models exists, and "
        "Switchyard did not make it for this cluster (its marks are missing); it is left alone. Set "
        "cluster.bucket.name to "
        "another name\n"
    )
    assert nothing_made(user.fake)


def test_region_without_the_gpu(user: User) -> None:
    ready(user.fake)
    user.write(region="europe-west9")
    done = user.run("apply", "--yes")
    assert done.code == 1
    assert done.text.splitlines()[0] == (
        "switchyard: node-pool/l4: europe-west9 has no nvidia-l4. Regions with the GPU and quota for it: europe-west4, "
        "us-central1."
    )
    assert nothing_made(user.fake)


def test_zone_without_the_gpu(user: User) -> None:
    ready(user.fake)
    user.write(pools={"a100": {"machine": "a2-highgpu-1g", "zones": ["us-central1-b"]}})
    done = user.run("plan")
    assert done.code == 1
    assert "us-central1-b has no nvidia-tesla-a100; in us-central1 these have it: us-central1-a." in done.text


def test_deletion_protection(user: User) -> None:
    user.write(deletion_protection=True)
    assert user.run("apply", "--yes", "--no-kubernetes").code == 0
    before = user.fake.everything()
    done = user.run("destroy", "--yes")
    assert done.code == 1
    assert done.text == (
        "switchyard: cluster/switchyard: deletion protection is on. Set cluster.deletion_protection to false, run "
        f"`switchyard cluster apply -f {user.folder / 'service.yaml'}`, then destroy again\n"
    )
    assert user.fake.everything() == before
    user.write(deletion_protection=False)
    assert user.run("apply", "--yes", "--no-kubernetes").code == 0
    assert user.run("destroy", "--yes").code == 0
    assert user.fake.billable() == []


def test_somebody_elses_network_of_the_same_name(user: User) -> None:
    ready(user.fake)
    user.fake.compute["global/networks/switchyard"] = {"name": "switchyard", "description": "made by hand"}
    done = user.run("apply", "--yes")
    assert done.code == 1
    assert done.text == (
        "switchyard: network/switchyard: a network called switchyard exists, and Switchyard did not make it for this "
        "cluster (its marks are missing); it is left alone. Set cluster.name to another name\n"
    )
    # Destroying does not touch it either.
    done = user.run("destroy", "--yes")
    assert done.code == 0
    assert "Kept: network/switchyard: not made by Switchyard for this cluster." in done.out
    assert list(user.fake.compute) == ["global/networks/switchyard"]


def test_bucket_not_empty(user: User) -> None:
    assert user.run("apply", "--yes", "--no-kubernetes").code == 0
    user.fake.buckets["my-project-switchyard-models"]["_objects"]["weights.safetensors"] = 3 * 2**30
    before = user.fake.everything()
    done = user.run("destroy", "--yes")
    assert done.code == 1
    assert done.text == (
        "switchyard: bucket/my-project-switchyard-models: the bucket my-project-switchyard-models is not "
        "empty: 1 objects "
        "(3.0 GiB). Delete them too with --delete-models, or leave the bucket with --keep-bucket\n"
    )
    assert user.fake.everything() == before
    done = user.run("destroy", "--yes", "--keep-bucket")
    assert done.code == 0
    assert user.fake.billable() == ["my-project-switchyard-models"]
    assert "asked for by --keep-bucket; 1 objects (3.0 GiB) go on costing." in done.out
    assert user.run("destroy", "--yes", "--delete-models").code == 0
    assert user.fake.everything() == []


def test_no_stock_for_nodes_that_must_be_there(user: User) -> None:
    user.write(pools={"l4": {"machine": "g2-standard-8", "min_nodes": 1}})
    user.fake.stockouts.add("nvidia-l4")
    done = user.run("apply", "--yes", "--no-kubernetes")
    assert done.code == 1
    assert done.text.endswith(
        "switchyard: node-pool/l4: The zone does not have enough resources for g2-standard-8. Google has no "
        "such machine "
        "left there now. Try other zones (cluster.pools.NAME.zones), another machine, or again later; what "
        "was made stays "
        "and the next apply goes on from it\n"
    )
    # The pool that never came up is made anew by the next run.
    user.fake.stockouts.clear()
    done = user.run("apply", "--yes", "--no-kubernetes")
    assert done.code == 0
    assert "replace  node-pool/l4" in done.out
    assert user.run("plan").code == 0


def test_no_billing_account_for_a_budget(user: User) -> None:
    ready(user.fake)
    user.fake.services |= {"cloudbilling.googleapis.com": 0.0, "billingbudgets.googleapis.com": 0.0}
    user.fake.billing = False
    user.write(budget_usd=100)
    done = user.run("plan")
    assert done.code == 1
    assert done.text == (
        "switchyard: The project my-project has no billing account; link one: gcloud billing projects link my-project "
        "--billing-account=ACCOUNT\n"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"project": "My_Project"}, "cluster.project: is not a project's id (neither its name nor its"),
        ({"region": "us-central1-a"}, "cluster.region: is not a region such as us-central1 (given: 'us-central1-a')."),
        ({"zone": "europe-west4-a"}, "cluster: zone europe-west4-a is not in region us-central1."),
        ({"name": "twentyfive-characters-abc"}, "is not a name of 1 to 24 characters: small letters,"),
        (
            {"kuberay_version": "1.5.0"},
            "KubeRay 1.5.0 is not known here (cluster.kuberay_version, --version); known: 1.6.1, 1.7.0.",
        ),
        ({"hf_secret": "Bad Name!"}, "cluster.hf_secret: is not the name of a Kubernetes secret: small"),
        ({"network": {"pods": "300.0.0.0/14"}}, "cluster.network.pods: is no range of addresses: "),
        ({"network": {"nodes": "10.64.0.0/20"}}, "nodes (10.64.0.0/20) and pods (10.64.0.0/14) overlap."),
        ({"regoin": "x"}, "unknown key 'cluster.regoin'; did you mean 'cluster.region'?"),
        ({"pools": {"l4": {"machin": "g2-standard-8"}}}, "unknown key 'cluster.pools.l4.machin'; did you mean"),
        ({"pools": {"l4": {"machine": "g2-standard-5"}}}, "is not a GPU machine type known here; known: g2-standard-4"),
        ({"pools": {"system": {"machine": "g2-standard-8"}}}, "two pools would be called system; rename one."),
        (
            {"pools": {"l4": {"machine": "g2-standard-8", "min_nodes": 3, "max_nodes": 2}}},
            "cluster.pools.l4: min_nodes (3) is above max_nodes (2).",
        ),
        (
            {"pools": {"l4": {"machine": "g2-standard-8", "local_ssds": 3}}},
            "cluster.pools.l4: g2-standard-8 takes 1 local SSDs, not 3.",
        ),
        (
            {"pools": {"l4": {"machine": "g2-standard-8", "compact": True}}},
            "cluster.pools.l4: compact needs exactly one zone in zones: nodes close together are in one.",
        ),
        (
            {"maintenance": {"days": ["sat"], "start": "02:00", "hours": 4}},
            "cluster.maintenance: GKE wants 48 hours in any 32 days, which are 12 a week; this is 4 a week",
        ),
        (
            {"maintenance": {"days": ["sat"], "start": 2, "hours": 12}},
            "cluster.maintenance.start: ",
        ),
        ({"network": {"nodes": "10.10.0.0"}}, "is no range of addresses: it needs its size, as in 10.10.0.0/20"),
        (
            {"pools": {"l4": {"machine": "g2-standard-8", "zones": ["us-central1-a"] * 2}}},
            "us-central1-a is in zones more than once",
        ),
        (
            {"maintenance": {"days": ["sat"], "start": "24:00", "hours": 12}},
            "cluster.maintenance.start: is not a time such as 02:00",
        ),
        ({"bucket": {"name": "google-models"}}, "names with 'goog' at the start, or 'google', are taken."),
        ({"bucket": {"name": "10.0.0.1"}}, "an address, or two dots together, are no bucket's name."),
    ],
)
def test_a_wrong_service_file(user: User, change: dict[str, object], message: str) -> None:
    user.write(**change)
    done = user.run("plan")
    assert done.code == 1
    assert message in done.text
    assert user.fake.journal == []  # nobody was asked anything


def test_a_token_that_cannot_be_one_is_not_stored(user: User) -> None:
    user.environ["HF_TOKEN"] = "hf_one\nhf_two"
    done = user.run("apply", "--yes")
    assert (done.code, user.fake.journal) == (1, [])
    assert "HF_TOKEN has a space, a line break or a letter that no token has" in done.text
    assert "hf_one" not in done.text


def test_a_secret_may_have_a_name_with_dots(user: User) -> None:
    ready(user.fake)
    user.write(hf_secret="team.hf-token", pools={})
    assert user.run("plan").code == 2


def test_a_zone_that_does_not_answer_is_not_taken_for_an_empty_one(user: User) -> None:
    ready(user.fake)
    user.write(pools={})
    assert user.run("apply", "--yes", "--no-kubernetes").code == 0
    made = user.fake.everything()
    user.fake.missing_zones = ["us-central1-b"]
    for command in ("plan", "apply --yes", "destroy --yes"):
        done = user.run(*command.split())
        assert done.code == 1
        assert "GKE cannot say now what there is in us-central1-b, so that the cluster switchyard may" in done.text
    assert user.fake.everything() == made
    user.fake.missing_zones = ["europe-west4-a"]  # where nothing of ours can be
    assert user.run("plan").code == 0


def test_a_pool_that_grows_is_checked_as_a_new_one_is(user: User) -> None:
    ready(user.fake)
    l4 = {"machine": "g2-standard-8", "max_nodes": 4}
    user.write(pools={"l4": l4})
    assert user.run("apply", "--yes", "--no-kubernetes").code == 0
    user.fake.quotas["us-central1"]["NVIDIA_L4_GPUS"] = (16.0, 4.0)  # its own nodes
    user.write(pools={"l4": {**l4, "max_nodes": 16}})
    assert "Quota of pool l4: ok. NVIDIA_L4_GPUS in us-central1: limit 16; needs 16 at most" in user.run("plan").out
    user.write(pools={"l4": {**l4, "max_nodes": 40}})
    done = user.run("plan")
    assert done.code == 2
    assert "NVIDIA_L4_GPUS in us-central1: limit 16; enough for 16 of max_nodes 40. Ask for more: gcloud" in done.out
    user.write(pools={"l4": {**l4, "zones": ["us-central1-a", "us-central1-f"]}})
    done = user.run("apply", "--yes", "--no-kubernetes")
    assert done.code == 1
    assert "node-pool/l4: us-central1-f has no nvidia-l4; in us-central1 these have it: us-central1-a," in done.text


@pytest.mark.parametrize("content", ["garbage", "{}", "[]"])
def test_a_damaged_price_list_stops_nothing(user: User, content: str) -> None:
    ready(user.fake)
    path = price_file()
    path.parent.mkdir(parents=True)
    path.write_text(content, encoding="utf-8")
    done = user.run("plan")
    assert done.code == 2
    assert "unverified estimates of list prices" in done.out and f"; the price list {path} is damaged" in done.out
    user.fake.services |= {"cloudbilling.googleapis.com": 0.0}
    done = user.run("prices", "refresh")  # a list may have rates that somebody wrote by hand
    assert (done.code, path.read_text(encoding="utf-8")) == (1, content)
    assert "is damaged" in done.text and "Delete it" in done.text


def test_options_that_contradict_each_other(user: User) -> None:
    assert user.run("destroy", "--keep-bucket", "--delete-models").code == 2
    assert user.run("plan", "--explain", "--output", "json").code == 2
    assert user.fake.journal == []


def test_before_anything_is_there_nobody_waits_for_it(user: User) -> None:
    for command in ("kubeconfig", "schedule", "scale --to-zero"):
        done = user.run(*command.split())
        assert done.code == 1
        assert "There is no cluster switchyard" in done.text and "make it with: switchyard cluster apply" in done.text
    assert "trying again" not in done.text


def test_a_refused_plan_explains_the_refusal_only(user: User) -> None:
    ready(user.fake)
    user.write(pools={"l4": {"machine": "g2-standard-8"}, "other": {"machine": "g2-standard-8"}})
    assert user.run("apply", "--yes", "--no-kubernetes").code == 0
    assert user.run("plan", "--explain").out == "# Nothing to do.\n"
    user.write(pools={"l4": {"machine": "g2-standard-12"}})
    lines = user.run("plan", "--explain").out.splitlines()
    assert lines[0].startswith("# node-pool/l4: refused, ")
    assert all(line.startswith("#") for line in lines)


def test_two_operators_are_refused(user: User) -> None:
    ready(user.fake)
    user.write(pools={})
    assert user.run("apply", "--yes", "--no-kubernetes").code == 0
    labels = {"app.kubernetes.io/name": "kuberay"}
    image = {"image": "quay.io/kuberay/operator:v1.7.0"}
    user.kube.objects[path_of("Deployment", "kuberay-operator", "kuberay-operator")] = {
        "metadata": {"name": "kuberay-operator", "labels": {**labels, "app.kubernetes.io/version": "v1.7.0"}},
        "spec": {"template": {"spec": {"containers": [{"name": "kuberay-operator", **image}]}}},
    }
    user.write(pools={}, ray_operator="addon")
    made = len(user.fake.writes)
    done = user.run("apply", "--yes")
    assert done.code == 1
    assert "is installed in the cluster, and Google's add-on would be a second operator" in done.text
    assert len(user.fake.writes) == made
    checks = json.loads(user.run("doctor", "--output", "json").out)
    assert next(check["state"] for check in checks if check["what"] == "KubeRay") == "fail"


def test_a_bare_no_is_no_spot(user: User) -> None:
    user.write(pools={"l4": {"machine": "g2-standard-8", "spot": False}})
    assert "node-pool/l4-spot" not in user.run("plan").text


def test_no_cluster_section(user: User, tmp_path: Path) -> None:
    (tmp_path / "service.yaml").write_text("name: gemma\n", encoding="utf-8")
    done = user.run("plan")
    assert done.code == 1
    assert "has no section cluster; it needs at least project and region (see deploy/gke-l4.yaml)." in done.text
