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
		pattern, source, capture string
		targets                  []string
		force                    bool
	)
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Write a commented waybill.yaml to start from",
		Long: `Writes a commented configuration for the chosen pattern, source and targets to waybill.yaml,
or to the file that --config names. With a queue, source or target may be none: a pipeline
that only fills the queue, or only empties it.`,
		Example: `  waybill init --source postgres --target postgres
  waybill init --source postgres --capture changes --target postgres
  waybill init --source sqlite --target sqlite -f local.yaml
  waybill init --pattern queue --source postgres --target postgres,sqlite
  waybill init --pattern queue --source postgres --target none`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			text, err := config.Example(pattern, source, capture, targets...)
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
	flags.StringVar(&pattern, "pattern", "push", "communication `PATTERN`: push or queue")
	flags.StringVar(&source, "source", kindPostgres, "`KIND` of the source: postgres, sqlite, or with a queue none")
	flags.StringVar(&capture, "capture", "", "`WHAT` to read of the source: outbox (the default), or of postgres changes")
	flags.StringSliceVar(&targets, "target", []string{kindPostgres}, "`KIND` of the target: postgres, sqlite, or with a queue none; several with commas between")
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
	flag, install := "", "waybill outbox install PIPELINE"
	if a.configFile != defaultConfig {
		flag = " -f " + a.configFile
	}
	if cfg, err := config.Load(a.configFile, os.LookupEnv); err == nil {
		install = "waybill outbox install " + cfg.Pipelines[0].Name
		if !cfg.Pipelines[0].Source.IsSet() {
			install = ""
		}
	}
	r := initResult{Wrote: a.configFile, Next: []string{"edit " + a.configFile}}
	if install != "" {
		r.Next = append(r.Next, install+flag)
	}
	r.Next = append(r.Next, "waybill check"+flag, "waybill run"+flag)
	return a.emit(r, func(w io.Writer) {
		fmt.Fprintf(w, "Wrote %s. Next:\n", r.Wrote)
		for i, step := range r.Next {
			fmt.Fprintf(w, "  %d. %s\n", i+1, step)
		}
	})
}
