package main

import (
	"d2nwg/cmd/internal/zoo"

	"github.com/urfave/cli/v2"
)

func zooCommand() *cli.Command {
	return &cli.Command{
		Name:      "zoo",
		Usage:     "train an adapter for each of many tasks: what a generator of adapters learns from",
		UsageText: "d2nwg zoo build|add|check|list|learn|audit|table|study …",
		Description: describe("A zoo is a folder: index.json lists tasks, [{\"name\",\"split\",\"description\" or \"descriptions\"}], and NAME.jsonl holds\n"+
			"each one's questions, {\"prompt\",\"answer\"} a line. Building adds an adapter for each task of the split \"train\".",
			"d2nwg zoo build zoos/mine", "an adapter for every training task of zoos/mine/index.json",
			"d2nwg zoo add zoos/mine hf://org/adapter --name sums --description \"Add the two numbers.\"", "an adapter of somebody else's",
			"d2nwg zoo check zoos/mine", "broken members, the same twice, and useless ones"),
		Subcommands: []*cli.Command{zooBuildCommand(), zooAddCommand(), zooCheckCommand(), zooListCommand(), learnCommand(), zooAuditCommand(), zooTableCommand(), zooStudyCommand()},
	}
}

// zooBase is the flag of the model whose adapters a zoo holds.
func zooBase() cli.Flag {
	return &cli.StringFlag{Name: "base", Value: "bundled", Usage: "checkpoint folder or address whose adapters these are"}
}

func zooBuildCommand() *cli.Command {
	before := "as before, or "
	return &cli.Command{
		Name: "build", Usage: "train and score the adapters of a folder of tasks", ArgsUsage: "DIR",
		UsageText: "d2nwg zoo build DIR [--from FOLDER | --procedural N] [flags]",
		Description: describe("Many adapters train in one batch: the frozen base runs once for all of them. All share a frozen factor A, so that B\n"+
			"alone is stored. Questions are cut by the hash of the prompt into train 70 %, select 10 %, confirm 10 % and test 10 %;\n"+
			"adapters learn from the first part and are scored on the last. Killed, the same command continues; done, it trains\n"+
			"what is missing, broken or of other questions than the task has now.",
			"d2nwg zoo build zoos/mine --base models/m --seeds 2", "two adapters of every training task",
			"d2nwg zoo build zoos/mine --from hf://datasets/org/tasks --adapters 200 --oracles",
			"tasks from elsewhere; adapters for 200, and for the held-out tasks to measure against",
			"d2nwg zoo build zoos/small --procedural 20 --dry-run", "what it would train"),
		Flags: []cli.Flag{
			zooBase(),
			&cli.StringFlag{Name: "from", Usage: "folder of tasks, or its address, to copy into DIR first"},
			&cli.IntFlag{Name: "procedural", Usage: "write so many procedural training tasks, and the held-out ones, into DIR first"},
			&cli.IntFlag{Name: "adapters", Usage: "most tasks that get adapters, evenly over the index; the others are described alone (0: all)"},
			&cli.IntFlag{Name: "seeds", Value: 1, Usage: "adapters of each task"},
			&cli.StringSliceFlag{Name: "splits", DefaultText: before + zoo.DefaultSplit, Usage: "split of the tasks to learn from (repeatable)"},
			&cli.BoolFlag{Name: "oracles", DisableDefaultText: true, Usage: "adapters for the held-out tasks too, in DIR/oracles; nothing learns from them"},
			&cli.IntFlag{Name: "rank", DefaultText: before + text(zoo.DefaultRank), Usage: "of the adapters"},
			&cli.Uint64Flag{Name: "shared-a", DefaultText: before + text(zoo.DefaultSharedA), Usage: "seed of the factors A that all adapters share"},
			&cli.IntFlag{Name: "steps", DefaultText: before + text(zoo.DefaultSteps), Usage: "optimizer steps"},
			&cli.Float64Flag{Name: "lr", DefaultText: before + text(zoo.DefaultLR), Usage: "peak learning rate"},
			&cli.IntFlag{Name: "rows", DefaultText: before + text(zoo.DefaultRows), Usage: "rows of an adapter's batch"},
			&cli.IntFlag{Name: "length", DefaultText: before + "what the longest question needs", Usage: "tokens of a row, which holds as many questions as fit"},
			&cli.Uint64Flag{Name: "seed", DefaultText: before + text(zoo.DefaultSeed), Usage: "same seed, same bytes"},
			&cli.IntFlag{Name: "group", Value: zoo.DefaultGroup, Usage: "most adapters in one batch"},
			&cli.StringFlag{Name: "backend", Value: "auto", Usage: "training backend: auto, go, onnx or xla"},
			&cli.BoolFlag{Name: "force", DisableDefaultText: true, Usage: "remove what was trained before, and start anew"},
			&cli.BoolFlag{Name: "dry-run", DisableDefaultText: true, Usage: "print what would be trained, and stop"},
		},
		Action: action(runZooBuild),
	}
}

func zooAddCommand() *cli.Command {
	return &cli.Command{
		Name: "add", Usage: "take adapters of others into a zoo", ArgsUsage: "DIR ADAPTER...",
		UsageText: "d2nwg zoo add DIR ADAPTER... [--name NAME --description TEXT --split SPLIT]",
		Description: describe("Adapters as PEFT saves them, or variants. Factors of their own are stored whole, in the smallest type that keeps them.\n"+
			"Those of a task of the zoo are scored on its held questions; another task's stands in the manifest with its\n"+
			"description, and --data makes it a task of the zoo.",
			"d2nwg zoo add zoos/mine adapters/reverse", "another adapter of the zoo's task reverse",
			"d2nwg zoo add zoos/mine hf://org/adapter --name sums --description \"Add the two numbers.\" --data sums.jsonl", "with a task of its own"),
		Flags: []cli.Flag{
			zooBase(),
			&cli.StringFlag{Name: "name", DefaultText: "the adapter's", Usage: "of its task"},
			&cli.StringSliceFlag{Name: "description", DefaultText: "the task's, or the variant's", Usage: "what it does, in words (repeatable)"},
			&cli.StringFlag{Name: "split", DefaultText: zoo.DefaultSplit, Usage: "of a task that the zoo doesn't have"},
			&cli.StringFlag{Name: "data", Usage: "JSONL file of {\"prompt\",\"answer\"}, or its address: the questions of a task that the zoo doesn't have"},
			&cli.BoolFlag{Name: "force", DisableDefaultText: true, Usage: "replace the adapter that came from the same place"},
		},
		Action: action(runZooAdd),
	}
}

func zooCheckCommand() *cli.Command {
	return &cli.Command{
		Name: "check", Usage: "report broken members, the same twice, and useless ones", ArgsUsage: "DIR", UsageText: "d2nwg zoo check DIR [flags]",
		Description: describe("Reads everything: members are broken where they are missing, cut off, of another base, not finite, or not what the\n"+
			"manifest says; duplicates where their updates have a cosine above 0.999 or their tasks the same questions; useless where\n"+
			"they answer too little, or not beyond doubt more than the base. Exits with 3 when something is broken.",
			"d2nwg zoo check zoos/mine --json", "as JSON"),
		Flags: []cli.Flag{
			zooBase(),
			&cli.Float64Flag{Name: "accuracy", Value: 0.1, Usage: "members below it are useless"},
			&cli.Float64Flag{Name: "alpha", Value: 0.05, Usage: "level of the test against the base"},
		},
		Action: action(runZooCheck),
	}
}

func zooListCommand() *cli.Command {
	return &cli.Command{
		Name: "list", Usage: "list the tasks and their adapters", ArgsUsage: "DIR", UsageText: "d2nwg zoo list DIR [--base BASE]",
		Description: describe("", "d2nwg zoo list zoos/mine", "tasks, accuracies, sizes"),
		Flags:       []cli.Flag{zooBase()},
		Action:      action(runZooList),
	}
}
