# The farm's baselines: base model, SFT, preferences, reward models and every method, each a row of
# results/farm. Included by the Makefile; `make baselines SEED=100` runs all of it. A stage is a file
# or folder of build/farm-SEED; one that was killed goes on where it was.

SEED ?= 0
# Where the rows go, and who judges: a panel, or a judge.
RESULTS ?= results
BOARD ?= farm
PANEL ?= checklist
# The prompts that are answered: eval, or val to choose settings by.
PROMPTS ?= eval
# Whose preferences are learned from: simulators (a quarter flipped), unflipped (theirs) or people.
LABELS ?= simulators
# The n of best-of-n decoding; numbers of pairs, and labels, that further reward models learn from.
N ?= 1 4 16 64 256
SIZES ?= 2500 5000 10000 20000
SIZED ?= simulators unflipped people

FARM := build/farm-$(SEED)
DATA := $(FARM)/data
BY := $(FARM)/by-$(LABELS)
ANSWERS := $(BY)/answers-$(PROMPTS)
LOGS := $(RESULTS)/$(BOARD)/training
CONFIGS := train_baselines/configs/farm
# Two stages run side by side, each on one core: models so small gain little from a second one.
ONE_CORE := OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false
PY := $(ONE_CORE) $(BIN)/python
LEADERBOARD := $(ONE_CORE) $(BIN)/leaderboard
TRAIN = $(PY) -m train_baselines.$(1) --config $(CONFIGS)/$(1).toml --seed $(SEED)
SFT := $(FARM)/sft/model.safetensors

.PHONY: baselines farm-rows
baselines: $(VENV)/.train
	$(MAKE) -j 2 farm-rows

$(VENV)/.train: $(VENV)/.local
	$(INSTALL) -e ".[local,train]"
	@touch $@

# ------------------------------------------------------------------------- the world and its models
$(DATA)/farm.json:
	$(PY) -m train_baselines.farm --out $(DATA) --seed $(SEED)

$(FARM)/start/model.safetensors: $(DATA)/farm.json
	$(PY) -m train_baselines.farm.base --farm $(DATA) --out $(FARM)/start --seed $(SEED)

# The one long stage: nothing can run beside it, so it takes both cores.
$(FARM)/base/model.safetensors: $(FARM)/start/model.safetensors
	$(ONE_CORE) $(BIN)/torchrun --standalone --nproc-per-node 2 -m train_baselines.sft \
		--config $(CONFIGS)/pretrain.toml --seed $(SEED) \
		--model-name-or-path $(FARM)/start --dataset $(DATA)/pretrain.jsonl --output-dir $(FARM)/base

$(SFT): $(FARM)/base/model.safetensors
	$(call TRAIN,sft) --model-name-or-path $(FARM)/base --dataset $(DATA)/sft.jsonl --output-dir $(FARM)/sft

# A model that has not learned the tasks is of no use to any method: stop here.
GENERATE = $(PY) -m train_baselines.generate --model-name-or-path $(FARM)/sft --max-new-tokens 96
$(FARM)/val-greedy.txt: $(SFT)
	$(GENERATE) --dataset $(DATA)/val.jsonl --n 1 --temperature 0 --output $(FARM)/val-greedy.jsonl
	$(PY) -m train_baselines.farm.utility $(FARM)/val-greedy.jsonl --at-least 0.5 > $@.draft
	mv $@.draft $@

# ------------------------------------------------------------------------------------- preferences
SAMPLE = $(GENERATE) --temperature 1 --top-p 1 --seed $(SEED) --output $@
$(FARM)/samples.jsonl: $(FARM)/val-greedy.txt
	$(SAMPLE) --dataset $(DATA)/preference.jsonl --n 6
$(FARM)/val-samples.jsonl: $(FARM)/val-greedy.txt
	$(SAMPLE) --dataset $(DATA)/val.jsonl --n 8

ANNOTATE = $(LEADERBOARD) annotate $< --multi --orders random --seed $(SEED) --out $@
$(FARM)/prefs-simulators.jsonl: $(FARM)/samples.jsonl
	$(ANNOTATE) --panel $(DATA)/simulators.toml --flip 0.25
$(FARM)/prefs-unflipped.jsonl: $(FARM)/samples.jsonl
	$(ANNOTATE) --panel $(DATA)/simulators.toml
$(FARM)/prefs-people.jsonl: $(FARM)/samples.jsonl
	$(ANNOTATE) --panel $(DATA)/people.toml
$(FARM)/val-pairs.jsonl: $(FARM)/val-samples.jsonl
	$(ANNOTATE) --panel checklist

# How far people agree on the policy's own samples, and simulators with people.
$(LOGS)/agreement-$(SEED).txt: $(FARM)/samples.jsonl
	@mkdir -p $(@D)
	$(PY) -m train_baselines.farm.agreement $< --panel $(DATA)/people.toml > $@.draft
	$(PY) -m train_baselines.farm.agreement $< --panel $(DATA)/simulators.toml \
		--with $(DATA)/people.toml >> $@.draft
	mv $@.draft $@

# ----------------------------------------------------------------------------------- reward models
REWARD = $(call TRAIN,reward_model) --model-name-or-path $(FARM)/sft --eval-dataset $(FARM)/val-pairs.jsonl
PREFS := $(FARM)/prefs-$(LABELS).jsonl
RM := $(BY)/reward_model
$(RM)/model.safetensors: $(PREFS) $(FARM)/val-pairs.jsonl
	$(REWARD) --dataset $< --output-dir $(RM)

# The accuracy by the number of pairs and by noise: rm/simulators-2500, and so on.
define reward_model_of
$(FARM)/rm/$(1)-$(2)/model.safetensors: $(FARM)/prefs-$(1).jsonl $(FARM)/val-pairs.jsonl
	@mkdir -p $(FARM)/rm
	head -n $(2) $(FARM)/prefs-$(1).jsonl > $(FARM)/rm/$(1)-$(2).jsonl
	$$(REWARD) --dataset $(FARM)/rm/$(1)-$(2).jsonl --output-dir $(FARM)/rm/$(1)-$(2)
endef
$(foreach l,$(SIZED),$(foreach n,$(SIZES),$(eval $(call reward_model_of,$l,$n))))

# ----------------------------------------------------------------------------------------- methods
OFFLINE := dpo feedme reward_conditioning
$(OFFLINE:%=$(BY)/%/model.safetensors): $(BY)/%/model.safetensors: $(PREFS)
	$(call TRAIN,$*) --model-name-or-path $(FARM)/sft --dataset $< --output-dir $(BY)/$*

ONLINE := expert_iteration quark ppo
$(ONLINE:%=$(BY)/%/model.safetensors): $(BY)/%/model.safetensors: $(RM)/model.safetensors
	$(call TRAIN,$*) --model-name-or-path $(FARM)/sft --reward-model $(RM) \
		--dataset $(DATA)/unlabeled.jsonl --output-dir $(BY)/$* $(WITH_$*)
WITH_ppo := --eval-dataset $(DATA)/val.jsonl

$(BY)/candidates.jsonl: $(RM)/model.safetensors
	$(GENERATE) --reward-model $(RM) --form candidates --dataset $(DATA)/unlabeled.jsonl \
		--n 4 --temperature 0.7 --top-p 1 --seed $(SEED) --output $@
$(BY)/rrhf/model.safetensors: $(BY)/candidates.jsonl
	$(call TRAIN,rrhf) --model-name-or-path $(FARM)/sft --dataset $< --output-dir $(@D)

# ------------------------------------------------------------------------ the board, and its answers
# Made with the SFT model of the first seed that comes. Settings are chosen on another board:
# make baselines RESULTS=build/results PROMPTS=val
BOARD_FILE := $(RESULTS)/$(BOARD)/board.toml
$(BOARD_FILE): | $(FARM)/val-greedy.txt
	@mkdir -p $(RESULTS)
	$(LEADERBOARD) board new $(BOARD) --results $(RESULTS) --prompts $(DATA)/$(PROMPTS).jsonl \
		--reference $(FARM)/sft --panel $(PANEL) --generation temperature=0.7,max_tokens=96

DECODE = $(call TRAIN,best_of_n) --model-name-or-path $(FARM)/sft --dataset $(RESULTS)/$(BOARD)/evalset.jsonl
$(ANSWERS)/best_of_n.run/rewards.jsonl: $(RM)/model.safetensors | $(BOARD_FILE)
	$(DECODE) --reward-model $(RM) --n $(N) --output $(ANSWERS)/best_of_n.jsonl
# Controls: what sharpening the SFT model does without anything learned from preferences.
$(ANSWERS)/likeliest_of_16.jsonl: $(SFT) | $(BOARD_FILE)
	$(DECODE) --score logprob --n 16 --output $@
$(ANSWERS)/greedy.jsonl: $(SFT) | $(BOARD_FILE)
	$(DECODE) --score logprob --n 1 --temperature 0 --output $@

# -------------------------------------------------------------------------------------------- rows
# A row is named after the method and the seed; rows of one method are a group.
row = $(RESULTS)/$(BOARD)/$(1)-$(SEED)/summary.json
EVAL = $(LEADERBOARD) eval --results $(RESULTS) --board $(BOARD)
log = @mkdir -p $(LOGS)/$(1)-$(SEED) && cp $(2)/train_config.json $(2)/metrics.jsonl $(LOGS)/$(1)-$(SEED)

define row_of
$(call row,$(1)): $(2)/$(1)/model.safetensors | $(BOARD_FILE)
	$$(EVAL) $(2)/$(1) --name $(1)-$(SEED) --group $(1)
	$$(call log,$(1),$(2)/$(1))
endef
$(foreach m,base sft,$(eval $(call row_of,$m,$(FARM))))
$(foreach m,$(OFFLINE) $(ONLINE) rrhf,$(eval $(call row_of,$m,$(BY))))

CONTROLS := greedy likeliest_of_16
$(foreach c,$(CONTROLS),$(call row,$c)): $(call row,%): $(ANSWERS)/%.jsonl
	$(EVAL) $< --name $*-$(SEED) --group $*
$(foreach n,$(N),$(call row,best_of_$n)): $(call row,best_of_%): $(ANSWERS)/best_of_n.run/rewards.jsonl
	$(EVAL) $(ANSWERS)/best_of_n-$*.jsonl --name best_of_$*-$(SEED) --group best_of_$*

$(LOGS)/best_of_n-$(SEED)/train_config.json: $(ANSWERS)/best_of_n.run/rewards.jsonl
	@mkdir -p $(@D)
	cp $(<D)/train_config.json $@
$(LOGS)/reward_models-$(SEED)/%.json: $(FARM)/rm/%/model.safetensors
	@mkdir -p $(@D)
	cp $(FARM)/rm/$*/train_config.json $@

farm-rows: $(LOGS)/agreement-$(SEED).txt $(LOGS)/best_of_n-$(SEED)/train_config.json \
$(foreach r,base sft $(OFFLINE) $(ONLINE) rrhf $(CONTROLS) $(N:%=best_of_%),$(call row,$r)) \
$(foreach l,$(SIZED),$(foreach n,$(SIZES),$(LOGS)/reward_models-$(SEED)/$l-$n.json))
	$(PY) -m train_baselines.farm.report $(RESULTS)/$(BOARD)
