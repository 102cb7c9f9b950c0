package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

const defaultConfig = "waybill.yaml"

func (a *app) newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "waybill",
		Short: "Keeps the same data true in several systems, and proves it",
		Long: `Waybill carries business actions from a source to its targets, directly or through a queue
of its own: whole, in order, once.

It reads waybill.yaml in the current directory, or the file that --config names.`,
		Example: `  waybill init --source postgres --target postgres   write a waybill.yaml to start from
  waybill outbox install crm                         set up the source's outbox
  waybill check                                      what is missing, and what is promised
  waybill run                                        run until stopped
  waybill status                                     what the running engine is doing`,
		Version:       versionInfo().Version,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          knownCommand,
		PersistentPreRun: func(*cobra.Command, []string) {
			a.start()
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetHelpCommand(newHelpCommand())
	root.SetVersionTemplate("waybill {{.Version}}\n")
	flags := root.PersistentFlags()
	flags.StringVarP(&a.configFile, "config", "f", defaultConfig, "configuration `FILE`")
	flags.VarP(&a.output, "output", "o", "what stdout carries: text for people, or one JSON object")
	flags.BoolVarP(&a.verbose, "verbose", "v", false, "log more")
	flags.Var(&a.logFormat, "log-format", "how log lines on stderr look")
	root.AddCommand(
		a.newDemoCommand(), a.newInitCommand(), a.newCheckCommand(), a.newRunCommand(), a.newStatusCommand(),
		a.newPauseCommand(), a.newResumeCommand(),
		a.newOutboxCommand(), a.newDropCommand(), a.newSchemaCommand(), a.newVersionCommand(),
		a.newCompletionCommand(),
	)
	root.AddCommand(a.laterCommands()...)
	return root
}

// knownCommand refuses what is no command, with what may have been meant.
func knownCommand(root *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	root.SuggestionsMinimumDistance = 2
	err := fmt.Errorf("unknown command %q", args[0])
	if meant := root.SuggestionsFor(args[0]); len(meant) > 0 && args[0] != "" {
		err = fmt.Errorf("%w; did you mean %q?", err, meant[0])
	}
	return err
}

// group is a command that only holds others.
func group(c *cobra.Command) *cobra.Command {
	c.Args = func(cmd *cobra.Command, args []string) error {
		var names []string
		for _, sub := range cmd.Commands() {
			names = append(names, sub.Name())
		}
		if len(args) > 0 {
			return fmt.Errorf("unknown command %q for %q; it has %s", args[0], cmd.CommandPath(), strings.Join(names, ", "))
		}
		return fmt.Errorf("%s needs one of %s", cmd.CommandPath(), strings.Join(names, ", "))
	}
	c.RunE = func(*cobra.Command, []string) error { return errors.New("no subcommand") } // Args refuses first
	return c
}

// onePipeline asks for exactly one argument.
func onePipeline(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("name one pipeline: %s PIPELINE (%d given)", cmd.CommandPath(), len(args))
	}
	return nil
}
