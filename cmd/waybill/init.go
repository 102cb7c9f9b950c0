package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/waybill-data/waybill/internal/config"
)

func (a *app) newInitCommand() *cobra.Command {
	var (
		pattern, source, target string
		force                   bool
	)
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Write a commented waybill.yaml to start from",
		Long:  "Writes a commented configuration for the chosen pattern, source and target to waybill.yaml, or to the file that --config names.",
		Example: `  waybill init --source postgres --target postgres
  waybill init --source sqlite --target sqlite -f local.yaml`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			text, err := config.Example(pattern, source, target)
			if err != nil {
				return &usageError{err}
			}
			if err := writeNew(a.configFile, text, force); err != nil {
				return err
			}
			return a.emitNextSteps()
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&pattern, "pattern", "push", "communication `PATTERN`")
	flags.StringVar(&source, "source", kindPostgres, "`KIND` of the source: postgres or sqlite")
	flags.StringVar(&target, "target", kindPostgres, "`KIND` of the target: postgres or sqlite")
	flags.BoolVar(&force, "force", false, "overwrite the file if it exists")
	return cmd
}

// writeNew writes the file. It may come to hold passwords, so it is the owner's alone.
func writeNew(name string, text []byte, force bool) error {
	flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if force {
		flags = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	}
	f, err := os.OpenFile(name, flags, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return &usageError{fmt.Errorf("%s exists already; --force overwrites it", name)}
	}
	if err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	return nil
}

// initResult is what init prints.
type initResult struct {
	Wrote string   `json:"wrote"`
	Next  []string `json:"next"`
}

func (a *app) emitNextSteps() error {
	flag, name := "", "PIPELINE"
	if a.configFile != defaultConfig {
		flag = " -f " + a.configFile
	}
	if cfg, err := config.Load(a.configFile, os.LookupEnv); err == nil {
		name = cfg.Pipelines[0].Name
	}
	r := initResult{Wrote: a.configFile, Next: []string{
		"edit " + a.configFile,
		"waybill outbox install " + name + flag,
		"waybill check" + flag,
		"waybill run" + flag,
	}}
	return a.emit(r, func(w io.Writer) {
		fmt.Fprintf(w, "Wrote %s. Next:\n", r.Wrote)
		for i, step := range r.Next {
			fmt.Fprintf(w, "  %d. %s\n", i+1, step)
		}
	})
}
