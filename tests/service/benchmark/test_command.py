"""The command against a real service, with the real k6."""

import xml.etree.ElementTree as ET

import pytest

from service.access import new_key

pytestmark = pytest.mark.usefixtures("k6_program")


def test_clients_are_measured_and_written(bench, serving, tmp_path):
    code, out, _ = bench(serving.url, "--clients", "1,2", "--plot", tmp_path / "run.svg")
    assert code == 0
    assert "blocks/1 (f32, openvino" in out
    assert "upload, decode, letterbox, queue, inference, NMS, JSON" in out
    assert "the service runs here too" in out
    assert "2 clients" in out
    assert ET.parse(tmp_path / "run.svg").getroot().tag.endswith("svg")


def test_the_figures_are_those_of_the_service(measured, serving):
    before = serving.detections()
    run = measured(serving.url, "--clients", "2")
    [step] = run["steps"]
    assert step["statuses"] == {"200": step["sent"]}
    assert serving.detections() - before == step["sent"] + 1  # the first one, which is asked before
    assert step["per_second"] == step["sent"] / step["seconds"]
    assert list(step["latency_ms"].values()) == sorted(step["latency_ms"].values())
    assert step["generator"]["cpu_s"] > 0
    assert run["server"]["model"]["precision"] == "f32"


def test_a_rate_is_offered_evenly_and_the_warm_up_is_not_counted(measured, serving):
    before = serving.detections()
    [step] = measured(serving.url, "--rate", "50", "--warm-up", "1")["steps"]
    assert step["sent"] + step["dropped"] == pytest.approx(50, abs=2)
    assert serving.detections() - before > step["sent"] + 1


def test_the_cache_answers_only_where_it_is_let(measured, serving, sample):
    def hits():
        return sum(sample(serving.service, "cache_total", result=name) for name in ("hit_memory", "collapsed"))

    measured(serving.url, "--clients", "2")
    assert hits() == 0
    measured(serving.url, "--clients", "2", "--cached")
    assert hits() > 0


def test_options_and_the_model_are_asked_for(measured, serving, png, tmp_path):
    (tmp_path / "street.png").write_bytes(png)
    run = measured(
        serving.url, tmp_path / "street.png", "--clients", "1", "--model", "blocks", "--option", "classes=blue"
    )
    assert run["requests"]["url"] == f"{serving.url}/v1/detect?model=blocks&classes=blue"
    assert run["server"]["first_request"]["detections"] == 1


def test_the_knee_is_looked_for(measured, serving):
    run = measured(serving.url, "--knee", "--steps", "2", "--slo-ms", "60000")
    assert [step["loop"] for step in run["steps"]] == ["closed", "open", "open"]
    assert run["knee"]["p99_ms_allowed"] == 60000
    assert {step["name"] for step in run["steps"] if step["broken_by"] is None} >= {"1 client"}


def test_a_key_is_sent_and_told_nobody(make_serving, bench, measured, tmp_path):
    token, entry = new_key("bench", ["detect"], None)
    (tmp_path / "keys.toml").write_text(entry)
    (tmp_path / "token").write_text(token)
    serving = make_serving(keys_file=tmp_path / "keys.toml")
    code, _, err = bench(serving.url)
    assert (code, "401" in err or "key" in err) == (1, True)
    [step] = measured(serving.url, "--clients", "1", "--key-file", tmp_path / "token")["steps"]
    assert step["statuses"].keys() == {"200"}
    run = measured(serving.url, "--clients", "1", "--key", token)
    assert token not in str(run)
    assert "***" in run["command"]


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (("http://127.0.0.1:9",), 1, "http://127.0.0.1:9: "),
        (("foo",), 2, "'foo' is no URL"),
        (("http://127.0.0.1:9", "nowhere.jpg"), 2, "nowhere.jpg"),
        (("http://127.0.0.1:9", "--knee", "--rate", "3"), 2, "--knee chooses rates itself"),
        (("http://127.0.0.1:9", "--slo-ms", "3"), 2, "--slo-ms belongs to --knee"),
        (("http://127.0.0.1:9", "--rate", "3", "--clients", "1,2"), 2, "one number"),
        (("http://127.0.0.1:9", "--json", "no/such/folder.json"), 2, "there is no such folder"),
        (("http://127.0.0.1:9", "--key", "two words"), 2, "a key is one word"),
    ],
)
def test_what_cannot_be_done_is_one_line(bench, arguments, code, line):
    ended, out, err = bench(*arguments)
    assert (ended, out) == (code, "")
    assert err.startswith("yolov7-service: ")
    assert line in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "flag",
    [
        ("--clients", "0"),
        ("--rate", "0"),
        ("--size", "7"),
        ("--seconds", "0.5"),
        ("--warm-up", "0.5"),
        ("--plot", "run.png"),
    ],
)
def test_flags_are_checked(bench, flag):
    code, _, err = bench("http://127.0.0.1:9", *flag)
    assert code == 2
    assert flag[0] in err


def test_a_model_that_is_not_there_is_what_the_service_says(bench, serving):
    code, _, err = bench(serving.url, "--model", "unicorns")
    assert code == 1
    assert "unicorns" in err


def test_a_service_that_refuses_everything_is_no_success(bench, make_serving):
    serving = make_serving(anonymous_rate="1/hour")
    code, out, err = bench(serving.url, "--clients", "1")
    assert code == 1
    assert "x 429" in out
    assert "nothing was answered 200" in err


def test_no_further_step_follows_one_without_an_answer(bench, make_serving):
    serving = make_serving(anonymous_rate="3/hour")
    code, out, err = bench(serving.url, "--clients", "1,2,4")
    assert code == 0
    assert "2 clients" in out
    assert "4 clients" not in out
    assert "no further one was run" in err


def test_a_certificate_of_ones_own_authority_is_trusted(measured, make_serving, certificate):
    chain, key = certificate
    serving = make_serving(tls_certificate=chain, tls_key=key)
    [step] = measured(serving.url, "--clients", "1", "--ca", chain)["steps"]
    assert step["statuses"].keys() == {"200"}


def test_pictures_that_are_left_out_are_told(bench, serving, tmp_path):
    for name in ("a.bmp", "b.bmp"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(200 << 20)
    code, _, err = bench(serving.url, tmp_path)
    assert "the first 1 pictures are posted; 1 more are left out" in err
    assert code == 1  # they are none
