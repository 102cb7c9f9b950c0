package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

// laterCommands are documented and not built yet. They are hidden, take any flags, and end
// with exit 2.
func (a *app) laterCommands() []*cobra.Command {
	later := func(use, short string) *cobra.Command {
		return &cobra.Command{
			Use:                use,
			Short:              short + " (not in this version)",
			Hidden:             true,
			Args:               cobra.ArbitraryArgs,
			FParseErrWhitelist: cobra.FParseErrWhitelist{UnknownFlags: true},
			RunE:               func(cmd *cobra.Command, _ []string) error { return notInThisVersion(cmd.CommandPath()) },
		}
	}
	return []*cobra.Command{
		later("verify PIPELINE", "Compare source and target"),
		later("letters list|show|replay|discard PIPELINE [ID…]", "Dead letters"),
		later("resync PIPELINE", "Take a new snapshot and hand over to the stream"),
	}
}

func notInThisVersion(what string) error {
	return &usageError{fmt.Errorf("%s: not in this version", what)}
}
