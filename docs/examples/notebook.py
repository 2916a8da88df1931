"""From a run to a plot's numbers, in cells: `# %%` begins one in Jupyter, VS Code and other editors."""

# %% Run two controls on four pages, with the model that ships.
import harness

run = harness.run({"method": "passage", "beside": ["none"], "limit": 4, "updater": {"epochs": 3}, "leaderboard": ""})
print(run.folder, run.complete)

# %% One line per query: which questions did learning the page answer?
scores = harness.results(run)
by_method = scores.pivot_table(index="query", columns="method", values="value")
gained = by_method[by_method["passage"] > by_method["none"]]
print(f"{len(gained)} of {len(by_method)} questions are answered after learning the page and not before")

# %% One line per method: the score with its interval, and what it cost.
rows = harness.results(run, per="row").set_index("method")
print(rows[["score", "low", "high", "seeds", "contexts", "cost.update_s"]])

# %% Anything that was run before can be read again: a run's folder, a folder of runs, a published log.
again = harness.results(run.folder)
assert again.equals(scores)

# %% Beyond scores: what was answered, sample by sample.
for line in run.scores()[:3]:
    print(line["method"], line["query"], line["status"], line["answer"], line["value"])
