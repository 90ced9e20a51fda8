# The farm's baselines: base model, SFT, preferences, reward models and every method, each a row of
# results/farm. Included by the Makefile; `make baselines SEED=100` runs all of it. A stage is a file
# or folder of build/farm-SEED; one that was killed goes on where it was.

SEED ?= 0
RESULTS ?= results
BOARD ?= farm
PROMPTS ?= eval

FARM := build/farm-$(SEED)
DATA := $(FARM)/data
CONFIGS := train_baselines/configs/farm
# Two stages run side by side, each on one core: models so small gain little from a second one.
ONE_CORE := OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false
PY := $(ONE_CORE) $(BIN)/python
LEADERBOARD := $(ONE_CORE) $(BIN)/leaderboard
TRAIN = $(PY) -m train_baselines.$(1) --config $(CONFIGS)/$(1).toml --seed $(SEED)
# What the site and the report show of the trainings.
LOGS := $(RESULTS)/$(BOARD)/training
SFT := $(FARM)/sft/model.safetensors
RM := $(FARM)/reward_model/model.safetensors

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
$(FARM)/val-greedy.txt: $(SFT)
	$(PY) -m train_baselines.generate --model-name-or-path $(FARM)/sft --dataset $(DATA)/val.jsonl \
		--n 1 --temperature 0 --max-new-tokens 96 --output $(FARM)/val-greedy.jsonl
	$(PY) -m train_baselines.farm.utility $(FARM)/val-greedy.jsonl --at-least 0.5 > $@.draft
	mv $@.draft $@

# ------------------------------------------------------------------------------------- preferences
$(FARM)/samples.jsonl: $(FARM)/val-greedy.txt
	$(PY) -m train_baselines.generate --model-name-or-path $(FARM)/sft --dataset $(DATA)/preference.jsonl \
		--n 6 --temperature 1 --top-p 1 --max-new-tokens 96 --seed $(SEED) --output $@

$(FARM)/val-samples.jsonl: $(FARM)/val-greedy.txt
	$(PY) -m train_baselines.generate --model-name-or-path $(FARM)/sft --dataset $(DATA)/val.jsonl \
		--n 8 --temperature 1 --top-p 1 --max-new-tokens 96 --seed $(SEED) --output $@

ANNOTATE = $(LEADERBOARD) annotate --multi --orders random --seed $(SEED)
# What the methods learn from: the simulators, a quarter of their labels flipped.
$(FARM)/prefs.jsonl: $(FARM)/samples.jsonl
	$(ANNOTATE) $< --panel $(DATA)/simulators.toml --flip 0.25 --out $@
$(FARM)/prefs-unflipped.jsonl: $(FARM)/samples.jsonl
	$(ANNOTATE) $< --panel $(DATA)/simulators.toml --out $@
$(FARM)/prefs-people.jsonl: $(FARM)/samples.jsonl
	$(ANNOTATE) $< --panel $(DATA)/people.toml --out $@
$(FARM)/val-pairs.jsonl: $(FARM)/val-samples.jsonl
	$(ANNOTATE) $< --panel checklist --out $@
$(FARM)/val-pairs-people.jsonl: $(FARM)/val-samples.jsonl
	$(ANNOTATE) $< --panel $(DATA)/people.toml --out $@

# How far people agree on the policy's own samples, and simulators with people.
$(LOGS)/agreement-$(SEED).txt: $(FARM)/samples.jsonl
	@mkdir -p $(@D)
	$(PY) -m train_baselines.farm.agreement $< --panel $(DATA)/people.toml > $@.draft
	$(PY) -m train_baselines.farm.agreement $< --panel $(DATA)/simulators.toml \
		--with $(DATA)/people.toml >> $@.draft
	mv $@.draft $@

# ----------------------------------------------------------------------------------- reward models
REWARD = $(call TRAIN,reward_model) --model-name-or-path $(FARM)/sft --eval-dataset $(FARM)/val-pairs.jsonl
$(RM): $(FARM)/prefs.jsonl $(FARM)/val-pairs.jsonl
	$(REWARD) --dataset $< --output-dir $(@D)

# Its accuracy by the number of pairs and by noise: reward_model-prefs-2500, and so on.
SIZES := 2500 5000 10000 20000
LABELS := prefs prefs-unflipped prefs-people
REWARD_MODELS := $(foreach l,$(LABELS),$(foreach n,$(SIZES),$(FARM)/rm/$l-$n/model.safetensors))
define reward_model_of
$(FARM)/rm/$(1)-$(2)/model.safetensors: $(FARM)/$(1).jsonl $(FARM)/val-pairs.jsonl
	@mkdir -p $(FARM)/rm
	head -n $(2) $(FARM)/$(1).jsonl > $(FARM)/rm/$(1)-$(2).jsonl
	$$(REWARD) --dataset $(FARM)/rm/$(1)-$(2).jsonl --output-dir $(FARM)/rm/$(1)-$(2)
endef
$(foreach l,$(LABELS),$(foreach n,$(SIZES),$(eval $(call reward_model_of,$l,$n))))

# ----------------------------------------------------------------------------------------- methods
$(FARM)/dpo/model.safetensors $(FARM)/feedme/model.safetensors \
$(FARM)/reward_conditioning/model.safetensors: $(FARM)/%/model.safetensors: $(FARM)/prefs.jsonl
	$(call TRAIN,$*) --model-name-or-path $(FARM)/sft --dataset $< --output-dir $(FARM)/$*

ONLINE = $(call TRAIN,$*) --model-name-or-path $(FARM)/sft --reward-model $(FARM)/reward_model \
	--dataset $(DATA)/unlabeled.jsonl --output-dir $(FARM)/$*
$(FARM)/expert_iteration/model.safetensors $(FARM)/quark/model.safetensors: \
$(FARM)/%/model.safetensors: $(RM)
	$(ONLINE)
$(FARM)/ppo/model.safetensors: $(FARM)/%/model.safetensors: $(RM)
	$(ONLINE) --eval-dataset $(DATA)/val.jsonl

$(FARM)/candidates.jsonl: $(RM)
	$(PY) -m train_baselines.generate --model-name-or-path $(FARM)/sft --reward-model $(FARM)/reward_model \
		--form candidates --dataset $(DATA)/unlabeled.jsonl --n 4 --temperature 0.7 --top-p 1 \
		--max-new-tokens 96 --seed $(SEED) --output $@
$(FARM)/rrhf/model.safetensors: $(FARM)/candidates.jsonl
	$(call TRAIN,rrhf) --model-name-or-path $(FARM)/sft --dataset $< --output-dir $(@D)

# ------------------------------------------------------------------------ the board, and its answers
# results/farm is there already, held to the SFT model of seed 0. Settings are chosen on another:
# make baselines RESULTS=build/results PROMPTS=val
$(RESULTS)/$(BOARD)/board.toml: | $(FARM)/val-greedy.txt
	@mkdir -p $(RESULTS)
	$(LEADERBOARD) board new $(BOARD) --results $(RESULTS) --prompts $(DATA)/$(PROMPTS).jsonl \
		--reference $(FARM)/sft --judge checklist --generation temperature=0.7,max_tokens=96

EVALSET = $(RESULTS)/$(BOARD)/evalset.jsonl
N := 1 4 16 64 256
BEST_OF_N := $(FARM)/best_of_n.run/rewards.jsonl
$(BEST_OF_N): $(RM) | $(RESULTS)/$(BOARD)/board.toml
	$(call TRAIN,best_of_n) --model-name-or-path $(FARM)/sft --reward-model $(FARM)/reward_model \
		--dataset $(EVALSET) --n $(N) --output $(FARM)/best_of_n.jsonl

# Controls: what sharpening the SFT model does without anything learned from preferences.
$(FARM)/likeliest_of_16.jsonl: $(FARM)/val-greedy.txt | $(RESULTS)/$(BOARD)/board.toml
	$(call TRAIN,best_of_n) --model-name-or-path $(FARM)/sft --score logprob \
		--dataset $(EVALSET) --n 16 --output $@
$(FARM)/greedy.jsonl: $(FARM)/val-greedy.txt | $(RESULTS)/$(BOARD)/board.toml
	$(call TRAIN,best_of_n) --model-name-or-path $(FARM)/sft --score logprob --temperature 0 \
		--dataset $(EVALSET) --n 1 --output $@

# A row is named after the method and the seed; rows of one method are a group.
METHODS := base sft dpo feedme reward_conditioning expert_iteration rrhf quark ppo
CONTROLS := greedy likeliest_of_16
row = $(RESULTS)/$(BOARD)/$(1)-$(SEED)/summary.json
EVAL = $(LEADERBOARD) eval --results $(RESULTS) --board $(BOARD)
log = @mkdir -p $(LOGS)/$(1)-$(SEED) && cp $(2) $(LOGS)/$(1)-$(SEED)

$(foreach m,$(METHODS),$(call row,$m)): $(call row,%): $(FARM)/%/model.safetensors | $(RESULTS)/$(BOARD)/board.toml
	$(EVAL) $(FARM)/$* --name $*-$(SEED) --group $*
	$(call log,$*,$(addprefix $(FARM)/$*/,train_config.json metrics.jsonl))
$(foreach c,$(CONTROLS),$(call row,$c)): $(call row,%): $(FARM)/%.jsonl
	$(EVAL) $< --name $*-$(SEED) --group $*
$(foreach n,$(N),$(call row,best_of_$n)): $(call row,best_of_%): $(BEST_OF_N)
	$(EVAL) $(FARM)/best_of_n-$*.jsonl --name best_of_$*-$(SEED) --group best_of_$*

$(LOGS)/best_of_n-$(SEED)/train_config.json: $(BEST_OF_N)
	$(call log,best_of_n,$(FARM)/best_of_n.run/train_config.json)
$(LOGS)/reward_models-$(SEED)/%.json: $(FARM)/rm/%/model.safetensors
	@mkdir -p $(@D)
	cp $(FARM)/rm/$*/train_config.json $@

farm-rows: $(LOGS)/agreement-$(SEED).txt $(foreach r,$(METHODS) $(CONTROLS) $(N:%=best_of_%),$(call row,$r)) \
$(LOGS)/best_of_n-$(SEED)/train_config.json \
$(foreach l,$(LABELS),$(foreach n,$(SIZES),$(LOGS)/reward_models-$(SEED)/$l-$n.json))
	$(PY) -m train_baselines.farm.report $(RESULTS)/$(BOARD)
