package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"lido.dev/lido/internal/config"
	"lido.dev/lido/internal/image"
)

func newImageCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "image",
		Short: "Build, list and remove machine images",
		Long: `Images are built when a scale set first asks for one; building it before saves the first user the wait.
An image is named by its recipe (base, dsvm), by an alias (UbuntuDSVM), or publisher:offer:sku:version.`,
		Example: `  sudo lido image build dsvm
  sudo lido image ls
  sudo lido image rm base`,
	}
	cmd.AddCommand(newImageBuildCommand(), newImageListCommand(), newImageRemoveCommand())
	return cmd
}

// openImages opens the image store of a data directory; it may be in use by a running lido.
func openImages(data string) (*image.Catalogue, *image.Store, error) {
	p, err := newPaths(data)
	if err != nil {
		return nil, nil, err
	}
	if err := p.make(); err != nil {
		return nil, nil, err
	}
	c, err := loadConfig(p, upOptions{})
	if err != nil {
		return nil, nil, err
	}
	catalogue, err := catalogueOf(c)
	if err != nil {
		return nil, nil, err
	}
	images, err := image.Open(p.in("images"), image.Options{InUse: imageUsers(p)})
	return catalogue, images, err
}

func catalogueOf(c config.Config) (*image.Catalogue, error) {
	var over image.Overrides
	if err := c.Images.Decode("images", &over); err != nil {
		return nil, err
	}
	return image.NewCatalogue(over)
}

// imageUsers tells which machines were made from an image, by the records that the engine keeps.
func imageUsers(p paths) func(hash string) []string {
	return func(hash string) []string {
		records, _ := filepath.Glob(p.in("machines/*/machine.json"))
		var users []string
		for _, r := range records {
			if recordHasRoot(r, filepath.Join(p.in("images"), hash)) {
				users = append(users, filepath.Base(filepath.Dir(r)))
			}
		}
		return users
	}
}

func newImageBuildCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "build NAME...",
		Short:   "Build images, showing progress",
		Example: "  sudo lido image build base dsvm",
		Args:    cobra.MinimumNArgs(1),
	}
	data := dataFlag(cmd)
	force := cmd.Flags().Bool("force", false, "build anew even if it is built")
	cmd.RunE = func(cmd *cobra.Command, names []string) error {
		if err := needRoot("lido image build"); err != nil {
			return err
		}
		catalogue, images, err := openImages(*data)
		if err != nil {
			return err
		}
		ownModes()
		for _, name := range names {
			res, err := catalogue.ResolveName(name)
			if err != nil {
				return err
			}
			build := images.Ensure
			if *force {
				build = images.Build
			}
			root, err := build(cmd.Context(), res.Recipe, image.Lines(cmd.ErrOrStderr()))
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s %s: %s, %d MB, built in %s\n", root.Name, root.Hash, root.Distribution, root.Size>>20, root.Took.Round(time.Second))
			if res.Substitution != "" {
				fmt.Fprintln(cmd.OutOrStdout(), "note:", res.Substitution)
			}
		}
		return nil
	}
	return cmd
}

func newImageListCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "ls", Aliases: []string{"list"}, Short: "List the built images", Example: "  sudo lido image ls -o json", Args: cobra.NoArgs}
	data, output := dataFlag(cmd), outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		_, images, err := openImages(*data)
		if err != nil {
			return err
		}
		list, err := images.List()
		if err != nil {
			return err
		}
		var rows []string
		for _, r := range list {
			rows = append(rows, row(r.Name, r.Hash, r.Distribution, fmt.Sprintf("%d MB", r.Size>>20), age(r.Built), r.Substitution))
		}
		return printAs(cmd.OutOrStdout(), *output, list, row("NAME", "HASH", "DISTRIBUTION", "SIZE", "AGE", "NOTE"), rows)
	}
	return cmd
}

func newImageRemoveCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "rm NAME|HASH...", Short: "Remove built images that no machine uses", Example: "  sudo lido image rm base", Args: cobra.MinimumNArgs(1)}
	data := dataFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, names []string) error {
		_, images, err := openImages(*data)
		if err != nil {
			return err
		}
		for _, n := range names {
			if err := images.Remove(n); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), "removed", n)
		}
		return nil
	}
	return cmd
}

// recordHasRoot tells whether a machine's record names an image below dir.
func recordHasRoot(record, dir string) bool {
	var rec struct {
		Spec struct {
			Root string `json:"root"`
		} `json:"spec"`
	}
	b, err := os.ReadFile(record)
	if err != nil || json.Unmarshal(b, &rec) != nil {
		return false
	}
	return strings.HasPrefix(rec.Spec.Root, dir+"/")
}
