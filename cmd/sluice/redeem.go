package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/term"

	adminapi "sluice/internal/admin"
)

func (a *accountsCommand) redeemFlags(f *pflag.FlagSet) {
	f.StringVar(&a.email, "email", "", "The `ADDRESS` that the first owner will sign in with; asked for when left out. All others have one.")
	f.StringVar(&a.name, "name", "", "Your `NAME`, for people; it stays when left out.")
}

// runRedeem sets a password by a one-time link. Both are asked for at a terminal, unseen; elsewhere they are the lines of standard input.
func (a *accountsCommand) runRedeem(ctx context.Context, std *streams, _ []string) error {
	who := newAsker(os.Stdin, std.err)
	token, err := who.secret("One-time link (sll-...): ")
	if err != nil {
		return err
	}
	token = strings.TrimSpace(token)
	var out adminapi.LinkOut
	if err := a.call(ctx, std, "/admin/links", adminapi.LinkIn{Token: token}, &out); err != nil {
		return err
	}
	in := adminapi.LinkIn{Token: token, Name: a.name}
	if out.Email == "" {
		if in.Email = a.email; in.Email == "" {
			if in.Email, err = who.line("E-mail address to sign in with: "); err != nil {
				return err
			}
		}
	} else {
		fmt.Fprintf(std.err, "This sets the password of %s.\n", out.Email)
	}
	if in.Password, err = who.secret("Password, 12 characters or more: "); err != nil {
		return err
	}
	if who.terminal {
		again, err := who.secret("The same once more: ")
		if err != nil {
			return err
		}
		if again != in.Password {
			return errors.New("the two passwords differ; the link is still good")
		}
	}
	if err := a.call(ctx, std, "/admin/links", in, &out); err != nil {
		return err
	}
	if a.json {
		return printJSON(std.out, out)
	}
	_, err = fmt.Fprintf(std.out, "Done: sign in as %s with the password. The link is used up.\n", out.Email)
	return err
}

// An asker asks whoever runs a command.
type asker struct {
	in       *bufio.Reader
	file     *os.File
	out      io.Writer
	terminal bool
}

func newAsker(in *os.File, out io.Writer) *asker {
	return &asker{bufio.NewReader(io.LimitReader(in, 1<<16)), in, out, term.IsTerminal(int(in.Fd()))}
}

// line asks for something that anybody may see.
func (a *asker) line(prompt string) (string, error) {
	if a.terminal {
		fmt.Fprint(a.out, prompt)
	}
	text, err := a.in.ReadString('\n')
	if text = strings.TrimRight(text, "\r\n"); text != "" {
		return text, nil
	}
	if err == nil {
		err = errors.New("the line is empty")
	}
	return "", fmt.Errorf("%s%w", prompt, err)
}

// secret asks for something that nobody sees as it is typed.
func (a *asker) secret(prompt string) (string, error) {
	if !a.terminal {
		return a.line(prompt)
	}
	fmt.Fprint(a.out, prompt)
	text, err := term.ReadPassword(int(a.file.Fd()))
	fmt.Fprintln(a.out)
	if err == nil && len(text) == 0 {
		err = errors.New("nothing was typed")
	}
	if err != nil {
		return "", fmt.Errorf("%s%w", prompt, err)
	}
	return string(text), nil
}
