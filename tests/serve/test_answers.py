"""What a server answers: as the runtime does, in every form of body, row by row in order."""

import json
import threading
from datetime import date

import numpy as np
import pytest

import plait
from plait.runtime import Runtime


@pytest.fixture(scope="module")
def runtime(app):
    return Runtime(app, threads=1)


def test_json_as_the_runtime_answers(server, runtime, row, app):
    reply = server.post("/v1/predict", {"rows": [row, {"note": "brick"}, {}]}).json
    cells = json.loads((app / "golden.json").read_text())[0]
    want = runtime.answer([runtime.golden[0].cells(), {"note": "brick"}, {}])
    assert [one["label"]["answer"] for one in reply["answers"]] == want.values["label"].tolist()
    got = [list(one["label"]["probabilities"].values()) for one in reply["answers"]]
    np.testing.assert_allclose(got, want.scores["label"], atol=1e-5)
    np.testing.assert_allclose(got[0], cells["scores"]["label"], atol=1e-4)
    assert list(reply["answers"][0]["label"]["probabilities"]) == ["a", "b", "c"]
    assert reply["answers"][0]["label"]["confidence"] == max(got[0])
    assert (reply["model"], reply["unreadable"], reply["absent"]) == ("app", [], [])


def test_a_form_gives_the_same(server, row, photo):
    want = server.post("/v1/predict", {"rows": [{"photo": row["photo"], "price": 2.5}]}).json
    body = (
        b'--x\r\nContent-Disposition: form-data; name="photo"; filename="C:\\\\a\\\\b.png"\r\n'
        b"Content-Type: image/png\r\n\r\n" + photo + b"\r\n"
        b'--x\r\nContent-Disposition: form-data; name="price"\r\n\r\n2.5\r\n--x--\r\n'
    )
    got = server.ask(
        "POST", "/v1/predict", body, {"Content-Type": 'multipart/form-data; boundary="x"'}
    )
    assert got.json == want
    assert want["absent"] == ["note", "voice", "pulse"]


def test_lines_give_a_line_each_in_order(server, row):
    rows = [{"note": f"word {number}"} for number in range(40)]
    want = server.post("/v1/predict", {"rows": rows}).json["answers"]
    lines = [json.dumps(one) for one in rows]
    lines.insert(7, '{"note": NaN}')
    lines.insert(9, '{"nota": "x"}')
    lines.insert(11, json.dumps({"photo": {"base64": "aGVsbG8="}}))
    got = server.ask(
        "POST",
        "/v1/predict",
        "\n".join(lines).encode() + b"\n\n",
        {"Content-Type": "application/x-ndjson"},
    )
    assert got.headers["content-type"] == "application/x-ndjson"
    told = [json.loads(line) for line in got.data.splitlines()]
    assert len(told) == 43
    assert told[7]["error"]["message"] == "line 8 holds NaN, which is not JSON; send null."
    assert told[9]["error"]["message"].startswith("line 10: the model has no column 'nota'. Did")
    assert told[11]["unreadable"][0]["column"] == "photo"
    good = [told[place]["answer"] for place in range(43) if place not in (7, 9, 11)]
    assert good == want


def test_a_blank_line_is_answered_in_its_place(server):
    """Else every answer after it would belong to another row than its line."""
    body = b'{"note": "a"}\r\n\r\n \n{"price": 1}\n{"nota": 1}\n \n\n'
    got = server.post("/v1/predict", body, **{"Content-Type": "application/x-ndjson"})
    told = [json.loads(line) for line in got.data.splitlines()]
    assert ["answer" in line for line in told] == [True, False, False, True, False]
    errors = [line["error"] for line in told if "error" in line]
    assert errors[0]["message"] == "line 2 is blank; send {} for a row without cells."
    assert errors[1]["message"].startswith("line 3 is blank;")
    assert errors[2]["message"].startswith("line 5: the model has no column 'nota'. Did")
    assert {one["request"] for one in errors} == {got.headers["x-request-id"]}


def test_a_signal_as_numbers_and_as_text(server):
    steps = [[float(number), 1.0] for number in range(12)]
    one = server.post("/v1/predict", {"rows": [{"pulse": steps}]}).json
    two = server.post("/v1/predict", {"rows": [{"pulse": [[1, None], *steps]}]}).json
    assert one["unreadable"] == two["unreadable"] == []
    single = server.post("/v1/predict", {"rows": [{"pulse": "1, 2, 3, 4"}]}).json
    assert single["unreadable"][0]["reason"] == "'1, 2, 3, 4': has the shape 4, expected 2 leads"


def test_an_unreadable_cell_is_a_missing_one(server):
    reply = server.post(
        "/v1/predict", {"rows": [{"note": "x"}, {"note": "x", "photo": {"base64": "aGVsbG8="}}]}
    ).json
    assert reply["answers"][0] == reply["answers"][1]
    entry = reply["unreadable"][0]
    assert (entry["row"], entry["column"]) == (1, "photo")
    assert entry["reason"].startswith("is not an image of a known kind")


def test_streams_leave_the_others_out(server, row):
    alone = server.post("/v1/predict", {"rows": [{"note": row["note"]}]}).json["answers"]
    named = server.post("/v1/predict", {"rows": [row], "streams": ["note"]}).json["answers"]
    asked = server.post("/v1/predict?streams=note", {"rows": [row]}).json["answers"]
    assert alone == named == asked


def test_embed_gives_the_fused_vector(server, runtime, row):
    got = server.post("/v1/embed", {"rows": [row, {}]}).json["answers"]
    want = runtime.embed([runtime.golden[0].cells(), {"note": None}])
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_explain_sums_to_the_answer(server, row):
    reply = server.post("/v1/explain", {"rows": [row, {"note": "brick tower"}]}).json["answers"]
    for told in reply:
        score = told["label"]["scores"][0]
        assert score["of"] == told["label"]["answer"]
        assert score["everything"] == pytest.approx(told["label"]["confidence"], abs=2e-6)
        total = sum(score["contributions"].values())
        assert total == pytest.approx(score["everything"] - score["nothing"], abs=1e-5)
    alone = reply[1]["label"]["scores"][0]["contributions"]
    assert [name for name, share in alone.items() if share] == ["note"]
    some = server.post("/v1/explain", {"rows": [row], "streams": ["note", "voice"]}).json["answers"]
    assert list(some[0]["label"]["scores"][0]["contributions"]) == ["note", "voice"]


def test_many_clients_at_once_get_their_own_answers(start, app):
    rows = [{"note": f"apple {number}", "price": float(number)} for number in range(24)]
    got = [None] * len(rows)
    with start(app, wait_ms=20.0, queue=32) as server:
        want = server.post("/v1/predict", {"rows": rows}).json["answers"]

        def ask(number):
            reply = server.post("/v1/predict", {"rows": [rows[number]]})
            got[number] = reply.json["answers"][0]

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(rows))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        metrics = server.ask("GET", "/metrics").data.decode()
    for one, other in zip(got, want, strict=True):
        assert one["label"]["answer"] == other["label"]["answer"]
        assert one["label"]["confidence"] == pytest.approx(other["label"]["confidence"], abs=1e-5)
    figures = dict(line.rsplit(" ", 1) for line in metrics.splitlines() if line[0] != "#")
    batches = float(figures["plait_batch_rows_count"])
    assert batches < 24  # some were answered together
    assert float(figures['plait_rows_total{model="app"}']) == 48


def test_the_client(server, row, photo, tmp_path):
    path = tmp_path / "p.png"
    path.write_bytes(photo)
    url = f"http://127.0.0.1:{server.port}"
    want = server.post("/v1/predict", {"rows": [{**row, "pulse": [[1, 2], [3, 4]]}]}).json
    pulse = np.array([[1, 2], [3, 4]])
    with plait.Client(url) as client:
        reply = client.predict([{**row, "photo": path, "pulse": pulse}])
        assert (reply.answers, reply.unreadable, reply.absent) == (want["answers"], [], [])
        for cell in (photo, {"bytes": photo, "path": "x.png"}, {"bytes": photo}):
            again = client.predict([{**row, "photo": cell, "pulse": pulse}])
            assert again.answers == reply.answers
        assert len(client.embed([row]).answers[0]) == 4
        assert client.explain([row], streams=["note"]).answers[0]["label"]["scores"]
        assert client.is_ready()
        about = client.about()
        assert about["name"] == "app"
    with plait.Client(url, model="app") as named:
        assert named.about() == about
        assert named.predict([{"note": date(2024, 5, 1)}]).absent == [
            name for name in row if name != "note"
        ]


def test_a_number_and_a_model_without_vectors(start, table, tmp_path):
    import made_app

    made_app.make(tmp_path / "app", table, {"price": "numeric"}, classes=(), vector=False)
    with start(tmp_path / "app") as server:
        reply = server.post("/v1/explain", {"rows": [{"price": 3}, {}]}).json["answers"]
        score = reply[0]["score"]["scores"][0]
        assert reply[0]["score"]["answer"] == pytest.approx(score["everything"], abs=1e-5)
        assert score["of"] == "score"
        assert reply[1]["score"]["answer"] == pytest.approx(score["nothing"], abs=1e-5)
        refused = server.post("/v1/embed", {"rows": [{}]})
        assert refused.status == 409
        assert "has no fused vector: it was exported by an earlier plait" in refused.error
        assert "/v1/embed" not in server.ask("GET", "/openapi.json").json["paths"]
    with pytest.raises(plait.errors.BundleError, match="has no fused vector"):
        Runtime(tmp_path / "app").embed([{"price": 3}])
