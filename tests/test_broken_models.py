"""Models and judges that show nothing: every command says so in one sentence, or gives figures that are right."""

import json
import re
import shutil

import pytest
from dummies import WEIGHTS, dummy_clip, dummy_stable_diffusion
from safetensors.torch import load_file, save_file

from vdu.catalog import CATALOG
from vdu.cli import main
from vdu.sampling import HowToSample, image_seeds, run_to_end, sample
from vdu.sheet import as_picture
from vdu.task import open_model

QUICK = ["--samples", "50", "--sampler-steps", "2"]
STEPS = [*QUICK, "--steps", "2", "--replay", "24"]
NAN, INFINITY = float("nan"), float("inf")


def change(path, change):
    """Change the weights of a file in place."""
    weights = {name: value.clone() for name, value in load_file(path).items()}
    change(weights)
    save_file(weights, path, {"format": "pt"})


def broken_by(value):
    """A change that sets one weight to a value."""

    def set_one(weights):
        next(weight for weight in weights.values() if weight.is_floating_point()).view(-1)[0] = value

    return set_one


def last_layer(weight, bias=None):
    """A change that scales the weights of the last layer, and sets its bias."""

    def scale(weights):
        weights["conv_out.weight"] *= weight
        if bias is not None:
            weights["conv_out.bias"].fill_(bias)

    return scale


def of_shipped(name, folder, part="unet", file=WEIGHTS, with_=None, **schedule):
    """A copy of a shipped model with changed weights and noise schedule."""
    shipped = CATALOG[name].folder
    shutil.copytree(shipped, folder, ignore=shutil.ignore_patterns("posterior", "example", "forget", "classifier", "*.png"))
    change(folder / part / file, with_ or broken_by(NAN))
    config = folder / "scheduler" / "scheduler_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | schedule))
    return folder


def last_line(capsys):
    """What a command printed, and its last line on stderr."""
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    return printed.out, printed.err.strip().split("\n")[-1]


def strict(text):
    """A parsed JSON without NaN and infinities."""
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))


@pytest.mark.parametrize("command", ["sample", "evaluate", "unlearn"])
@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("mnist-ddpm", {"with_": broken_by(NAN)}, "weights of the unet of .* are not all finite"),
        ("mnist-ddpm", {"with_": broken_by(-INFINITY)}, "weights of the unet of .* are not all finite"),
        ("tiny-sd", {"part": "vae"}, "weights of the vae of .* are not all finite"),
        ("tiny-sd", {"part": "text_encoder", "file": "model.safetensors"}, "weights of the text_encoder of .* not all finite"),
        ("mnist-ddpm", {"with_": last_layer(1e35)}, "draws values that are not finite"),
    ],
    ids=["nan", "infinity", "vae", "text encoder", "overflow"],
)
def test_what_is_not_finite_is_refused_in_one_sentence(name, changes, message, command, tmp_path, capsys):
    model = ["--model", str(of_shipped(name, tmp_path / "model", **changes)), *QUICK[2:]]
    asked = {"sample": ["--n", "8", "--out", str(tmp_path / "sheet.png")], "evaluate": QUICK[:2], "unlearn": STEPS}[command]
    forget = [] if command == "sample" else ["--forget", "red" if name == "tiny-sd" else "3"]
    assert main([command, *model, *forget, *asked, *(["--out", str(tmp_path / "run")] if command == "unlearn" else [])]) == 2
    _, line = last_line(capsys)
    assert line.startswith("vdu: ")
    assert re.search(message, line)
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "sheet.png").exists()


def set_in(folder, **values):
    """A change of a configuration in a model's folder."""
    return lambda model: (model / folder).write_text(json.dumps(json.loads((model / folder).read_text()) | values))


def write(file, data):
    """A change that writes a file in a model's folder anew."""
    return lambda model: (model / file).write_bytes(data)


def cut_weights(model):
    path = model / "unet" / WEIGHTS
    path.write_bytes(path.read_bytes()[:5000])


def complex_weights(model):
    change(model / "unet" / WEIGHTS, lambda weights: weights.update({"conv_in.bias": weights["conv_in.bias"].cfloat()}))


UNET, SCHEDULER = "unet/config.json", "scheduler/scheduler_config.json"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (set_in(UNET, sample_size=27), "halves images 2 times, and their size (27) is no multiple of 4"),
        (set_in(UNET, block_out_channels=[16, 32, 64]), "has weights of other shapes than the config.json of its unet says"),
        (set_in(UNET, layers_per_block=100_000), "asks for more layers (layers_per_block) than its weights have"),
        (write(UNET, b"[]"), "config.json' is no configuration"),
        (write(UNET, b"[" * 100_000), "config.json' could not be read: it is nested too deeply"),
        (write("model_index.json", b"[" * 100_000), "model_index.json' could not be read: it is nested too deeply"),
        (cut_weights, "is no whole safetensors file"),
        (write(f"unet/{WEIGHTS}", b""), "is no whole safetensors file"),
        (complex_weights, "are complex numbers, such as conv_in.bias"),
        (set_in(SCHEDULER, num_train_timesteps="1000"), "num_train_timesteps '1000', which must be a whole number"),
        (set_in(SCHEDULER, beta_start="x"), "beta_start 'x', which must be a number"),
        (set_in(SCHEDULER, trained_betas=["a"]), "trained_betas that are no list of numbers"),
        (write(SCHEDULER, b"3"), "scheduler_config.json' is no configuration"),
    ],
)
def test_a_damaged_folder_is_one_sentence_that_names_the_damage(spoil, message, tmp_path, capsys):
    model = of_shipped("mnist-ddpm", tmp_path / "model", with_=lambda weights: None)
    spoil(model)
    assert main(["sample", "--model", str(model), "--n", "2", "--sampler-steps", "2", "--out", str(tmp_path / "x.png")]) == 2
    _, line = last_line(capsys)
    assert message in line
    assert not (tmp_path / "x.png").exists()


def test_a_path_with_dots_is_named_as_it_was_given(tmp_path, capsys, monkeypatch):
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    assert main(["sample", "--model", "../../a"]) == 2
    assert "'../../a' is not a diffusers model folder" in last_line(capsys)[1]


@pytest.mark.parametrize("colour", [5.0, -5.0], ids=["black", "white"])
def test_a_model_that_draws_one_colour_has_no_forget_rate(colour, tmp_path, capsys):
    model = of_shipped("mnist-ddpm", tmp_path / "m", with_=last_layer(0.0, colour), prediction_type="v_prediction")
    for command in (["evaluate", *QUICK], ["unlearn", *STEPS, "--out", str(tmp_path / "run")]):
        assert main([*command, "--model", str(model), "--forget", "1"]) == 2
        out, line = last_line(capsys)
        assert line.startswith("vdu: The model draws nothing but single colours")
        assert not out


def test_a_model_that_never_draws_the_class_has_figures_that_say_so(tmp_path, capsys):
    noise = of_shipped("mnist-ddpm", tmp_path / "noise", with_=last_layer(0.0, 0.0))
    assert main(["evaluate", *QUICK, "--model", str(noise), "--forget", "3"]) == 0
    figures = strict(last_line(capsys)[0])
    absent = min(figures["class_shares"], key=figures["class_shares"].get)
    assert main(["unlearn", *STEPS, "--model", str(noise), "--forget", absent, "--out", str(tmp_path / "run")]) == 0
    report = strict((tmp_path / "run" / "report.json").read_text())
    assert (report["before"]["forget_rate"], report["pul"]) == (0, None)
    assert report["before"]["forget_rate_ci95"][1] > 0.05
    assert report["u_fid"] > 50


def test_a_judge_with_a_broken_weight_is_refused(tmp_path, capsys):
    model, clip = dummy_stable_diffusion(tmp_path / "sd"), dummy_clip(tmp_path / "clip")
    change(clip / "model.safetensors", broken_by(NAN))
    assert main(["evaluate", *QUICK, "--model", str(model), "--forget", "a [b]", "--keep", "c", "--judge", str(clip)]) == 2
    assert "The weights of the judge in" in last_line(capsys)[1]


def write_pictures(images, folder):
    """Write images as pictures of a user."""
    folder.mkdir()
    for number, image in enumerate(images):
        as_picture(image).save(folder / f"{number:02d}.png")
    return folder


@pytest.mark.parametrize(
    ("rows", "message"),
    [(range(40), "is no better than chance"), ([0] * 16, "holds 1 different picture of what to forget")],
    ids=["like everything", "copies"],
)
def test_a_judge_that_cannot_tell_is_refused(rows, message, tmp_path, capsys):
    model, _, _ = open_model("mnist-ddpm", "cpu")
    own = run_to_end(sample(model, image_seeds(5, 40), HowToSample(4)))
    pictures = write_pictures(own[[*rows]], tmp_path / "own")
    fitted = ["--model", "mnist-ddpm", "--forget", "mine", "--judge", "pictures", "--pictures", str(pictures)]
    assert main(["evaluate", *QUICK[:2], "--sampler-steps", "4", "--sampler", "ode", *fitted]) == 2
    assert message in last_line(capsys)[1]


def test_a_defect_ends_in_a_sentence(monkeypatch, capsys):
    def fail(*_):
        raise RuntimeError("one\ntwo")

    monkeypatch.setattr("vdu.running.open_model", fail)
    assert main(["sample", "--model", "mnist-ddpm"]) == 1
    err = capsys.readouterr().err
    assert err.splitlines()[-1].startswith("vdu: this failed in vdu itself (RuntimeError: one)")
    assert "in fail" in err
