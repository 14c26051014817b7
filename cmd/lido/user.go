package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"lido.dev/lido/internal/identity"
)

func newUserCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "user",
		Short: "Manage who may sign in: people and service principals",
		Long: `Manage the accounts that sign in to lido's API. An Owner may do everything, a Reader may look. The commands
talk to the running lido of a data directory.`,
	}
	cmd.AddCommand(newUserAddCommand(), newUserListCommand(), newUserPasswordCommand(), newUserRemoveCommand())
	return cmd
}

// callAccounts asks the running server's accounts API; name may be empty.
func callAccounts(cmd *cobra.Command, data, method, name, verb string, in, out any) error {
	p, err := newPaths(data)
	if err != nil {
		return err
	}
	path := identity.AccountsPath
	if name != "" {
		path += "/" + url.PathEscape(name)
	}
	return newControlClient(p).do(cmd.Context(), method, path+verb, in, out)
}

func newUserAddCommand() *cobra.Command {
	var owner, app, stdin bool
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Add an account; a password is made and shown once, unless one is given",
		Example: `  sudo lido user add alice
  sudo lido user add --owner bob --password-stdin < password
  sudo lido user add --service-principal ci`,
		Args: cobra.ExactArgs(1),
	}
	data := dataFlag(cmd)
	cmd.Flags().BoolVar(&owner, "owner", false, "may do everything (default: a Reader, who may look)")
	cmd.Flags().BoolVar(&app, "service-principal", false, "an account for a program, with an app id and a secret")
	cmd.Flags().BoolVar(&stdin, "password-stdin", false, "read the password from standard input")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		req := identity.AccountRequest{Name: args[0], Kind: identity.User, Role: identity.Reader}
		if owner {
			req.Role = identity.Owner
		}
		if app {
			req.Kind = identity.ServicePrincipal
		}
		var err error
		if req.Password, err = givenPassword(stdin, cmd.InOrStdin()); err != nil {
			return err
		}
		var made identity.AccountAnswer
		if err := callAccounts(cmd, *data, http.MethodPost, "", "", req, &made); err != nil {
			return err
		}
		out := cmd.OutOrStdout()
		fmt.Fprintf(out, "added %s %s as %s\n", kindWord(made.Kind), made.Name, made.Role)
		if made.AppID != "" {
			fmt.Fprintln(out, "app id:  ", made.AppID)
		}
		if !stdin {
			fmt.Fprintln(out, "password:", made.Password)
		}
		return nil
	}
	return cmd
}

func newUserListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "ls",
		Short:   "List the accounts",
		Example: `  sudo lido user ls -o json`,
		Args:    cobra.NoArgs,
	}
	data, output := dataFlag(cmd), outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var list identity.AccountList
		if err := callAccounts(cmd, *data, http.MethodGet, "", "", nil, &list); err != nil {
			return err
		}
		var rows []string
		for _, a := range list.Value {
			rows = append(rows, row(a.Name, kindWord(a.Kind), a.Role, a.AppID, a.Created.Format("2006-01-02")))
		}
		return printAs(cmd.OutOrStdout(), *output, list.Value, row("NAME", "KIND", "ROLE", "APP ID", "SINCE"), rows)
	}
	return cmd
}

func newUserPasswordCommand() *cobra.Command {
	var stdin bool
	cmd := &cobra.Command{
		Use:   "passwd NAME",
		Short: "Give an account a new password; what it is signed in with becomes void",
		Example: `  sudo lido user passwd alice
  sudo lido user passwd alice --password-stdin < password`,
		Args: cobra.ExactArgs(1),
	}
	data := dataFlag(cmd)
	cmd.Flags().BoolVar(&stdin, "password-stdin", false, "read the password from standard input")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		password, err := givenPassword(stdin, cmd.InOrStdin())
		if err != nil {
			return err
		}
		var made identity.AccountAnswer
		if err := callAccounts(cmd, *data, http.MethodPost, args[0], "/password", identity.AccountRequest{Password: password}, &made); err != nil {
			return err
		}
		if !stdin {
			fmt.Fprintln(cmd.OutOrStdout(), "password:", made.Password)
		}
		return nil
	}
	return cmd
}

func newUserRemoveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "rm NAME",
		Short:   "Remove an account",
		Example: `  sudo lido user rm alice`,
		Args:    cobra.ExactArgs(1),
	}
	data := dataFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return callAccounts(cmd, *data, http.MethodDelete, args[0], "", nil, nil)
	}
	return cmd
}

func kindWord(k identity.Kind) string {
	if k == identity.ServicePrincipal {
		return "service principal"
	}
	return "user"
}

// givenPassword is the first line of in, if it is to be read from there; else empty, for a random one.
func givenPassword(stdin bool, in io.Reader) (string, error) {
	if !stdin {
		return "", nil
	}
	line, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return "", errors.New("no password on standard input")
	}
	return line, nil
}

// askPassword asks at the terminal, whatever standard input and output are (they may be a pipe into eval).
func askPassword(prompt string) (string, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return "", errors.New("no terminal to ask for the password at: give it in LIDO_PASSWORD")
	}
	defer tty.Close()
	fmt.Fprint(tty, prompt)
	password, err := term.ReadPassword(int(tty.Fd()))
	fmt.Fprintln(tty)
	return string(password), err
}
