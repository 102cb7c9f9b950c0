package main

import (
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/waybill-data/waybill/internal/config"
)

// load reads the configuration and picks the named pipelines, or all of them.
func (a *app) load(names []string) (*config.Config, []*config.Pipeline, error) {
	cfg, err := config.Load(a.configFile, os.LookupEnv)
	if err != nil {
		return nil, nil, err
	}
	if err := checkMappings(cfg); err != nil {
		return nil, nil, err
	}
	picked, err := cfg.Select(names)
	return cfg, picked, err
}

// loadOne is load for verbs that work on one pipeline.
func (a *app) loadOne(name string) (*config.Config, *config.Pipeline, error) {
	cfg, picked, err := a.load([]string{name})
	if err != nil {
		return nil, nil, err
	}
	return cfg, picked[0], nil
}

// completePipelines offers the configuration's pipelines to the shell.
func (a *app) completePipelines(_ *cobra.Command, given []string, _ string) ([]string, cobra.ShellCompDirective) {
	cfg, err := config.Load(a.configFile, os.LookupEnv)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for i := range cfg.Pipelines {
		if name := cfg.Pipelines[i].Name; !slices.Contains(given, name) {
			names = append(names, name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeOne is completePipelines for verbs that take one.
func (a *app) completeOne(cmd *cobra.Command, given []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(given) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.completePipelines(cmd, given, typed)
}

// completeTarget offers the names of the targets of the pipeline given.
func (a *app) completeTarget(_ *cobra.Command, given []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(given) != 1 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	_, p, err := a.loadOne(given[0])
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for i := range p.Targets {
		names = append(names, p.Targets[i].Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
