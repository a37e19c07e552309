"""Scripts: comments are no options, the command ends where it ends, variables of the script are put in."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from trainer.errors import UserError
from trainer.kohya import read_text
from trainer.kohya.report import Imported
from trainer.kohya.script import read_script

RUN = "accelerate launch train_network.py --network_module=networks.lora"


def of(imported: Imported, *keys: str) -> list[Any]:
    return [imported.settings.get(key) for key in keys]


def looked_at(imported: Imported) -> set[str]:
    return {entry.key for entry in imported.report.attention}


@pytest.mark.parametrize("comment", [
    "# {old}", "  #{old}", "rem {old}", "@REM {old}", ":: {old}", "<#\n{old}\n#>", "#!/bin/sh\n# {old} \\",
    "echo {old}", 'echo "{old}"', ": '\n{old}\n'", "goto start\n{old}\n:start", "if false; then\n{old}\nfi",
    "goto end_of_old\nif x {{\n{old}\n:END_OF_OLD", ": <<'X'\n{old}\nX", "<# {old} #>",
])  # fmt: skip
def test_a_commented_command_is_none(comment):
    old = f"{RUN} --network_dim=4 --output_name=old"
    imported = read_text(f"{comment.format(old=old)}\n{RUN} --network_dim=16 --output_name=new\npause\n")
    assert of(imported, "network_dim", "output_name") == [16, "new"]
    assert not imported.report.attention


@pytest.mark.parametrize("line", [
    "sed -i 's/a/b/' train_network.py", "chmod +x train_network.py; cp train_network.py old.py",
    "title train_network.py at work", "pgrep -f train_network.py", "ps aux | grep sdxl_train_network.py",
    'say "train_network.py begins"', "if not exist train_network.py exit /b",
])  # fmt: skip
def test_a_script_that_is_only_named_is_no_training(line):
    imported = read_text(f"{line}\n{RUN} --network_dim=16\n")
    assert of(imported, "network_dim", "sdxl") == [16, False]
    assert not imported.report.attention


@pytest.mark.parametrize("text", [
    RUN + " --network_dim=16 \\\n# --network_dim=64",
    RUN + " --network_dim=16 # --network_dim=64",
    RUN + " \\\n  # --network_dim=64 \\\n  --network_dim=16",
    RUN + " --network_dim=16  \\\n  --seed 3 # was: --network_dim=64\n",
    RUN + " ^\r\n  --network_dim=16 ^\r\nrem --network_dim=64\r\n",
    RUN + " `\n  --network_dim=16 `\n # --network_dim=64\n",
    RUN + " `# --network_dim=64` --network_dim=16",
    "args=(\n --network_dim=16\n # --network_dim=64\n)\n" + RUN + ' "${args[@]}"\n',
])  # fmt: skip
def test_a_commented_option_is_none(text):
    imported = read_text(text)
    assert of(imported, "network_dim") == [16]
    assert not imported.report.attention


def test_a_number_sign_in_a_value_is_no_comment():
    imported = read_text(f'{RUN} --output_name="a #1" --training_comment=c#d --network_dim=16')
    assert of(imported, "output_name", "training_comment", "network_dim") == ["a #1", "c#d", 16]


@pytest.mark.parametrize("rest", [
    " 2>&1 | tee log.txt", " > log.txt", " >> log.txt 2>&1", ";", "; echo done", " && shutdown -h now",
    " || exit 1", " &", " 2> err.txt", " \\", " ^", " & pause", " |tee log", "; done", " < /dev/null",
    " &> all.log", " *>&1 | Tee-Object log.txt", " 2>$null",
])  # fmt: skip
@pytest.mark.parametrize("last", ["--optimizer_args weight_decay=0.1", "--max_train_epochs=10"])
def test_what_stands_behind_the_command_ends_it(last, rest):
    imported = read_text(f"cd /x && {RUN} --network_dim=16 {last}{rest}")
    assert not imported.report.attention
    assert of(imported, "network_dim") == [16]
    wanted = ["weight_decay=0.1", 0] if "optimizer" in last else ["", 10]
    assert of(imported, "optimizer_args", "max_train_epochs") == wanted


POWERSHELL_QUOTES = {
    "single": "{run} `\n --training_comment='it''s \"mine\"' --network_dim=16",
    "double": '{run} `\n --training_comment="it\'s ""mine""" --network_dim=16',
    "behind a backtick": '{run} `\n --training_comment="it`\'s `"mine`"" --network_dim=16',
    "in a variable": "# don't\n$c = 'it''s \"mine\"'\n{run} --training_comment=$c --network_dim=16",
}  # fmt: skip


@pytest.mark.parametrize("kind", POWERSHELL_QUOTES)
def test_quotes_within_quotes_of_powershell_are_letters(kind):
    imported = read_text(POWERSHELL_QUOTES[kind].format(run=RUN))
    assert of(imported, "training_comment", "network_dim") == ['it\'s "mine"', 16]
    assert not imported.report.attention


@pytest.mark.parametrize(("text", "name"), [
    ("$n = 'it''s' + ' mine'\n{run} --output_name=$n --network_dim=16", "it's mine"),
    ("$n = 'a b'\n$d = 8\nif ($n -eq 'a b') {{ $d = 16 }}\n{run} --output_name=$n --network_dim=$d", "a b"),
    ("$a = @('--output_name=it''s', '--network_dim=16')\n{run} @a", "it's"),
    ('$n = 1\niex "{run} --output_name=`"my lora`" --network_dim=16"', "my lora"),
    ('$n = 1\niex "{run} --output_name=""my lora"" --network_dim=16"', "my lora"),
])  # fmt: skip
def test_quotes_within_quotes_of_a_list_and_of_a_command(text, name):
    imported = read_text(text.format(run=RUN))
    assert of(imported, "output_name", "network_dim") == [name, 16]
    assert not imported.report.attention


def test_a_doubled_quote_is_a_letter_for_powershell_and_cmd_and_nothing_for_sh():
    text = f"{RUN} --output_name='it''s'"
    assert of(read_text(text), "output_name") == ["its"]
    assert of(read_text(text, path="train.ps1"), "output_name") == ["it's"]
    assert of(read_text(f'C:\\py.exe {RUN} --training_comment="a ""b"" c"'), "training_comment") == [
        'a "b" c'
    ]


@pytest.mark.parametrize("name", ["$'my lora'", '"my lora"', "my' 'lora", "my\\ lora", "\u201cmy lora\u201d"])
def test_quotes_of_every_kind_are_read(name):
    imported = read_text(f"{RUN} --output_name={name} --network_dim=16")
    assert of(imported, "output_name", "network_dim") == ["my lora", 16]
    assert not imported.report.attention


def test_a_sign_in_quotes_is_part_of_the_value():
    imported = read_text(f"{RUN} --output_name='a;b' --training_comment=\"x | y > z && w\"")
    assert of(imported, "output_name", "training_comment") == ["a;b", "x | y > z && w"]


@pytest.mark.parametrize("between", ["\n", " && ", "; "])
def test_a_second_training_command_is_mentioned(between):
    imported = read_text(f"{RUN} --output_name=a{between}{RUN} --output_name=b{between}{RUN}")
    assert of(imported, "output_name") == ["a"]
    [entry] = imported.report.attention
    assert (entry.why, entry.was) == ("kohya.more_commands", 2)


DEFINED = [
    ("base=./m.safetensors\ndim=32", "$base", "$dim"),
    ("export base=\"./m.safetensors\"\ndim='32'", "${base}", "${dim}"),
    ("base=./m.safetensors; dim=32", '"$base"', "$dim"),
    ("folder=.\nbase=$folder/m.safetensors\ndim=32 # rank", '"${base}"', "$dim"),
    ("set base=./m.safetensors\r\nset dim=32\r", "%base%", "%dim%"),
    ('@set "base=./m.safetensors"\r\nSET dim=32\r', '"%BASE%"', "!dim!"),
    ('$base = "./m.safetensors"\n$dim = 32', "$base", "$dim"),
    ('$env:base = "./m.safetensors"\n$dim=32', "$env:base", "$dim"),
    ("base=./m.safetensors", "$base", "${dim:-32}"),
    ("base=./m.safetensors", "$base", "${1:-32}"),
    ("$base='./m.safetensors'\n$dim=32", "$($base)", "$($dim)"),
    ('param(\n [string]$base = "./m.safetensors",\n [int]$dim = 32\n)', "$base", "$dim"),
    ('set base="./m.safetensors"\r\nset dim=32\r', "%base%", "%dim%"),
    ("base=./old\nbase=./m.safetensors\ndim=32", "$base", "$dim"),
]


@pytest.mark.parametrize(("top", "base", "dim"), DEFINED)
def test_variables_of_the_same_file_are_put_in(top, base, dim):
    text = f"{top}\n{RUN} --pretrained_model_name_or_path={base} --network_dim={dim}\n"
    imported = read_text(text)
    assert of(imported, "pretrained_model_name_or_path", "network_dim") == ["./m.safetensors", 32]
    assert not imported.report.attention


@pytest.mark.parametrize("text", [
    'args=(--network_dim=32 --output_name "my lora")\n{run} "${{args[@]}}"',
    "args=(\n  --network_dim=32\n  --output_name 'my lora'\n)\n{run} ${{args[@]}}",
    'args="--network_dim=32"\nargs="$args --output_name=x"\n{run} $args --output_name "my lora"',
    'args="\n  --network_dim=32\n  --output_name=\'my lora\'\n"\n{run} $args',
    'args=(--network_dim=32)\nargs+=(--output_name "my lora")\n{run} "${{args[@]}}"',
    '$args = @(\n "--network_dim=32"\n "--output_name=my lora"\n)\n{run} @args',
])  # fmt: skip
def test_lists_of_options_are_put_in(text):
    imported = read_text(text.format(run=RUN))
    assert of(imported, "network_dim", "output_name") == [32, "my lora"]


@pytest.mark.parametrize("value", [
    "models/$MODEL.safetensors", "out/${{NAME}}", "$(pwd)/img", "lora_${{VER}}", "%CD%\\img", "`pwd`/img",
    "a/$env:USER/b", "pre_!NAME!", "'$HOME/x'",
])  # fmt: skip
def test_other_variables_are_marked_wherever_they_stand(value):
    value = value.replace("{{", "{").replace("}}", "}")
    imported = read_text(f"{RUN} --output_name=fixed --train_data_dir={value} --optimizer_args a=1 b={value}")
    assert looked_at(imported) == {"train_data_dir", "optimizer_args"}


def test_a_percentage_is_no_variable():
    assert not read_text(f"{RUN} --lr_warmup_steps=10% --lr_scheduler=cosine").report.attention


def test_what_stands_before_the_program_is_no_option():
    imported = read_text(f"CUDA_VISIBLE_DEVICES=0 HF_HOME=/x nohup {RUN} --network_dim=16")
    assert of(imported, "network_dim", "extra_accelerate_launch_args") == [16, ""]


@pytest.mark.parametrize("text", [
    "d=32\nif [[ $d -gt 8 ]]; then args=(--network_dim=$d); else args=(--v2); fi\n{run} ${{args[@]}}",
    'v=0\nif [ $v == 1 ]; then\n  a="--v2"\nelif [ "$v" = 0 ]; then\n  a="--network_dim 32"\nfi\n{run} $a',
    'v=x\nif [[ $v == "x" && -n $v ]]\nthen\n  a+=("--network_dim 32")\nelse\n  b=1\nfi\n{run} "${{a[@]}}"',
    '$a = [X]::new()\nif (0) {{\n $a.Add("--v2")\n}}\nelse {{\n $a.Add("--network_dim=" + 32)}}\n{run} $a',
    '$a = @()\nif ($true -and -not $false) {{ $a += "--network_dim=32" }} else {{ $a += "--v2" }}\n{run} @a',
    '$v = $false\n$a = if ($v) {{ "--v2" }} else {{ "--network_dim=32" }}\n{run} $a',
    'set v=0\nif "%v%"=="1" (\n  set a=--v2\n) else (\n  set a=--network_dim=32\n)\n{run} %a%',
    "set v=0\nset a=--network_dim=32\nif not %v% == 0 set a=--v2\n{run} %a%",
    "set v=0\nif /i %v% EQU 1 (set a=--v2) else (set a=--network_dim=32)\n{run} %a%",
    "d=32\nif [[ -z $d ]]; then\n if [[ $d == 32 ]]; then d=4; fi\n d=5\nfi\n{run} --network_dim=$d",
])  # fmt: skip
def test_only_what_counts_of_a_script_is_read(text):
    imported = read_text(text.format(run=RUN))
    assert of(imported, "network_dim", "v2") == [32, False]
    assert not imported.report.attention


@pytest.mark.parametrize("asked", [
    "if [ -f model.ckpt ]; then\n{}\nfi", "if [[ $1 == yes ]]; then {}; else dim=4; fi",
    "if exist model.ckpt (\n{}\n)", "if (Test-Path model.ckpt) {{\n{}\n}}",
])  # fmt: skip
def test_what_only_the_script_knew_is_told(asked):
    shown = "set dim=32" if "exist" in asked else "$dim = 32" if "Test" in asked else "dim=32"
    imported = read_text(
        f"{asked.format(shown)}\n{RUN} --network_dim={'%dim%' if 'set' in shown else '$dim'}"
    )
    assert of(imported, "network_dim") == [32]
    assert [entry.why for entry in imported.report.attention] == ["kohya.condition"]
    unused = read_text(f"{asked.format('other=1')}\n{RUN} --network_dim=32")
    assert not unused.report.attention


@pytest.mark.parametrize("text", [
    "bash <<EOF\n{run} --network_dim=32\nEOF",
    "sbatch --gres=gpu:1 <<'END'\n#!/bin/bash\n{run} --network_dim=32\nEND",
    "ssh host bash -s <<-'EOF'\n\t{run} --network_dim=32\n\tEOF\necho done",
    "D=32\ncat > run.sh <<EOF\n#!/bin/bash\n{run} --network_dim=$D\nEOF\nsbatch run.sh",
    "bash <<EOF\nif true; then\n{run} --network_dim=32\nfi\nEOF",
    'start "train" /wait cmd /c "{run} --network_dim=32"', "bash -c '{run} --network_dim=32'",
    "call {run} --network_dim=32", "start /wait {run} --network_dim=32", "(cd x && {run} --network_dim=32)",
    'powershell -NoProfile -Command "{run} --network_dim=32"', "if [ -f x ]\nthen {run} --network_dim=32\nfi",
    "train() {{\n {run} --network_dim=32\n}}\ntrain", "for n in 1 2; do\n {run} --network_dim=32\ndone",
    "cat > old.sh <<EOF\n{run} --network_dim=4\nEOF\n{run} --network_dim=32",
    '$old = @"\n{run} --network_dim=4\n"@\n{run} --network_dim=32',
    "dim = 32  #@param\n!{run} --network_dim={{dim}}",
    "script=./train_network.py\naccelerate launch $script --network_module=networks.lora --network_dim=32",
    "export a=32 b=x\n{run} --network_dim=$a", "{run} --network_dim=${{DIM:=32}}",
    '{run} --training_comment="two\nlines" --network_dim=32',
    "( {run} --network_dim=32 ) 2>&1 | tee log", "{{ {run} --network_dim=32; }} &> log",
    "if {run} --network_dim=32; then echo done; fi", "if ! {run} --network_dim=32; then exit 1; fi",
    'tmux new -d -s x "{run} --network_dim=32"', "ssh -p 22 host '{run} --network_dim=32'",
    'eval "{run} --network_dim=32"', "PS C:\\x> {run} --network_dim=32", "C:\\a b> {run} --network_dim=32",
    "(venv) PS D:\\> {run} --network_dim=32", "```bash\n{run} \\\n --network_dim=32```",
    "{run} \u2014network_dim=32", "{run} -network_dim 32", "set -x\n{run} --network_dim=32",
])  # fmt: skip
def test_a_command_is_found_where_it_stands(text):
    imported = read_text(text.format(run=RUN))
    assert of(imported, "network_dim", "LoRA_type") == [32, "Standard"]
    assert not imported.report.attention


@pytest.mark.parametrize("value", ["$1", "${2}", "$@", "%1", "%~dp0img", "{name}", "$(basename a b)"])
def test_what_a_script_is_called_with_is_marked(value):
    assert looked_at(read_text(f"{RUN} --output_name={value}")) == {"output_name"}


def test_files_that_the_script_writes_itself_are_read():
    config = "cat > run.toml <<'EOF'\nnetwork_dim = 32\noutput_name = 'mine'\nEOF\n"
    lines = "tee prompts.txt <<-END\na cat --n bad\nEND\n"
    imported = read_text(f"{config}{lines}{RUN} --config_file=run.toml --sample_prompts=prompts.txt")
    assert of(imported, "network_dim", "output_name", "sample_prompts") == [32, "mine", "a cat --n bad"]


@pytest.mark.parametrize("part", [
    "$(", "${a:-", "<#", '@"\n', "powershell ", "if ", "{", 'set A=" ', "a <<x\n",
    "sh <<x\n", "cat >a <<x\n", "sh a <<",
    "$a = 1\n'", "$a = '", '$a = 1\n"`', "$a = 1\n<#", "$a = @'\n", "$a = ''+", "(a|a)", "(a", "(a|",
    "if x {\n", '"\'', "(",
    "A=$(x)", "A=\\a", "if x==1 ", " ",
])  # fmt: skip
def test_odd_scripts_end_in_a_report_or_a_sentence(part):
    """None of the patterns may take forever: the time of each would grow with the square of its length."""
    with suppress(UserError):
        read_text(part * (20_000 // len(part)) + f"\n{RUN} --network_dim=32")


@pytest.mark.parametrize(("words", "note"), [
    ("--seed=3 --network_dim=4 --network_dim 16", "kohya.option_twice"),
    ("--optimizer_args a=1 --network_dim=16 --optimizer_args weight_decay=0.2", "kohya.option_twice"),
    ("--network_dim=16 --optimizer_args weight_decay=0.1 betas=0.9,0.99 weight_decay=0.2",
     "kohya.argument_twice"),
    ("--network_dim=16 --network_args conv_dim=4 conv_dim=8", "kohya.argument_twice"),
    ("--network_dim=16 --lr_scheduler_args a=1 b=2 a=3", "kohya.argument_twice"),
])  # fmt: skip
def test_what_stands_twice_is_told_and_the_last_counts(words, note):
    imported = read_text(f"{RUN} {words}")
    assert of(imported, "network_dim") == [16]
    assert {entry.note for entry in imported.report.attention} == {note}
    assert imported.settings.get("optimizer_args").endswith("weight_decay=0.2") == ("decay" in words)


def test_a_script_that_is_named_a_hundred_thousand_times_is_read_once():
    """Were each name followed to the end of the text, it would take hours."""
    copied = "cp " + "train_network.py " * 100_000
    assert read_script(copied).more == 0
    assert read_script(f"{copied}\n{RUN} --network_dim=32").command.endswith("--network_dim=32")


@pytest.mark.parametrize("python", ["python -u", "python3 -X utf8 -B", "py -3.11", "python -W ignore -u"])
def test_pythons_own_options_are_none_of_accelerate(python: str):
    imported = read_text(f"{python} train_network.py --network_dim=16")
    assert imported.settings.network.network_dim == 16
    assert imported.settings.machine.extra_accelerate_launch_args == ""
    launched = read_text(f"{python} -m accelerate.commands.launch --debug train_network.py --network_dim=16")
    assert launched.settings.machine.extra_accelerate_launch_args == "--debug"


@pytest.mark.parametrize("word", ['"$@"', "$*", "%*", "${EXTRA[@]}", "@more"])
def test_options_of_the_scripts_caller_are_no_missing_quote(word: str):
    found = read_text(f"python train_network.py {word} --network_dim=16").report.entries
    assert "kohya.loose_variable" in {entry.why for entry in found}
    assert "kohya.loose_word" not in {entry.why for entry in found}


CHOICES = {
    "sh": "case $MODE in\n  small) DIM=8 ;;\n  large) DIM=64 ;;\n  *) DIM=16 ;;\nesac",
    "sh, one line": "case $MODE in small) DIM=8;; large) DIM=64;; *) DIM=16;; esac",
    "sh, many lines": 'case "$MODE" in\n  small)\n    DIM=8\n    ;;\n  large)\n    DIM=64\n    ;;\n'
    "  *)\n    if true; then DIM=16; fi\n    ;;\nesac",
    "sh, several patterns": "case $MODE in\n s*|tiny) DIM=8 ;;\n big|l*) DIM=64 ;;\n *) DIM=16 ;;\nesac",
    "sh, brackets on both sides": "case $MODE in\n  (small)\n    DIM=8\n    ;;\n  (big | large)\n"
    "    DIM=64\n    ;;\n  (*)\n    DIM=16\n    ;;\nesac",
    "PowerShell": "switch ($MODE) {\n  'small' { $DIM = 8 }\n  'large' {\n    $DIM = 64\n  }\n"
    "  default { $DIM = 16 }\n}",
    "PowerShell, one line": "switch ($MODE) { 'small' { $DIM = 8 } 'large' { $DIM = 64 } "
    "default { $DIM = 16 } }",
}  # fmt: skip


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize(("mode", "rank"), [("small", 8), ("large", 64), ("huge", 16)])
def test_of_a_choice_counts_what_was_chosen(choice, mode, rank):
    """Within an if: the end of the choice is not that of the if."""
    around = "MODE={mode}\nif [ -n $MODE ]; then\n{choice}\nfi\n"
    if "PowerShell" in choice:
        around = '$MODE = "{mode}"\nif ($MODE) {{\n{choice}\n}}\n'
    script = around.format(mode=mode, choice=CHOICES[choice])
    imported = read_text(f"{script}{RUN} --network_dim=$DIM")
    assert imported.settings.get("network_dim") == rank
    assert not imported.report.attention


@pytest.mark.parametrize("choice", CHOICES)
def test_of_a_choice_that_only_the_script_knew_the_first_is_read_and_told(choice):
    imported = read_text(f"{CHOICES[choice]}\n{RUN} --network_dim=$DIM")
    assert imported.settings.get("network_dim") == 8
    (told,) = imported.report.attention
    assert "$MODE" in str(told.was)


@pytest.mark.parametrize("choice", [
    "if [ $GPU = a ]; then\n{first}\nelse\n{second}\nfi",
    "case $GPU in\n a) {first} ;;\n b) {second} ;;\nesac",
    "switch ($GPU) {{\n 'a' {{\n{first}\n}}\n 'b' {{\n{second}\n}}\n}}",
    'if "%1"=="a" (\n{first}\n) else (\n{second}\n)',
    "if [ $GPU = a ]; then\n{first}\nfi\nif [ $GPU = b ]; then\n{second}\nfi",
    'if "%1"=="b" goto other\n{first}\ngoto end\n:other\n{second}\n:end',
    "choice /c ab\nif errorlevel 2 goto other\n{first}\ngoto :end\n:other\n{second}\n:end",
    'if "%1"=="b" (\n  goto other\n)\n{first}\ngoto end\n:other\n{second}\n:end',
])  # fmt: skip
def test_a_command_of_another_branch_is_told_with_what_chooses(choice):
    first, second = (f"{RUN} --network_dim={rank} --output_name=x" for rank in (4, 64))
    imported = read_text(choice.format(first=first, second=second))
    assert imported.settings.get("network_dim") == 4
    (told,) = imported.report.attention
    assert (told.why, told.was) == ("kohya.alternative_commands", 1)
    asked = str(told.values["only_if"])
    assert any(word in asked for word in ("$GPU", "%1", "errorlevel 2"))
    assert ("not (" in asked) == ("goto other" in choice)


@pytest.mark.parametrize("jump", [
    'if "%MODE%"=="b" goto other', 'if "%MODE%"=="b" (\n  goto other\n)', "if not %MODE%==a goto :other",
])  # fmt: skip
def test_cmd_goes_where_what_is_asked_holds(jump):
    first, second = (f"{RUN} --network_dim={rank}" for rank in (4, 64))
    imported = read_text(f"set MODE=b\n{jump}\n{first}\ngoto end\n:other\n{second}\n:end\npause")
    assert of(imported, "network_dim") == [64]
    assert not imported.report.attention
    imported = read_text(f"set MODE=a\n{jump}\n{first}\ngoto end\n:other\n{second}\n:end\npause")
    assert of(imported, "network_dim") == [4]
    assert not imported.report.attention


def test_a_command_for_when_the_first_fails_is_told():
    imported = read_text(f"if {RUN} --network_dim=4; then echo done; else {RUN} --network_dim=8; fi")
    assert of(imported, "network_dim") == [4]
    assert [(entry.why, entry.was) for entry in imported.report.attention] == [("kohya.more_commands", 1)]


@pytest.mark.parametrize("place", ["x_%%d", "x_%DIM:~0,2%", "x_!DIM:a=b!", "%%~nd", "%%~f", "a%~1"])
def test_variables_of_cmd_are_marked_in_every_spelling(place):
    imported = read_text(f"{RUN} --network_dim=4 --output_name={place}\npause")
    assert looked_at(imported) == {"output_name"}
