package oidc

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"sluice/internal/account"
	"sluice/internal/llm"
)

// claims are what a provider says of somebody.
type claims struct {
	Subject  string
	Email    string // verified
	Name     string
	Groups   []string
	AuthTime time.Time // zero: it was not told
}

// A said is a member of a token that providers write in several ways.
type said struct {
	Email    string          `json:"email"`
	Verified json.RawMessage `json:"email_verified"` // a bool; some write a text
	Name     string          `json:"name"`
	AuthTime int64           `json:"auth_time"`
	Before   float64         `json:"nbf"`
	Issued   float64         `json:"iat"`
	Party    string          `json:"azp"`
}

// verify checks the token that came with a code, and reads it. Keys are those of the provider's document: whatever the token itself says of keys
// (jku, x5u, jwk, a kid that is a path) is not looked at, but for finding one of them by its kid.
func (p *Provider) verify(ctx context.Context, found *oidc.Provider, tok *oauth2.Token, nonce string) (*claims, error) {
	raw, ok := tok.Extra("id_token").(string)
	if !ok {
		return nil, errors.New("there is none")
	}
	now := p.o.Now()
	// The library knows no skew for the end, and one of five minutes for the beginning, which is looked at below.
	id, err := found.VerifierContext(ctx, &oidc.Config{ClientID: p.o.ClientID, SupportedSigningAlgs: algorithms, Now: func() time.Time { return now.Add(-maxSkew) }}).Verify(ctx, raw)
	if err != nil {
		return nil, err
	}
	var all map[string]json.RawMessage
	var s said
	if err := errors.Join(id.Claims(&all), id.Claims(&s)); err != nil {
		return nil, err
	}
	soon := float64(now.Add(maxSkew).Unix())
	switch {
	case subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(nonce)) != 1:
		return nil, errors.New("the nonce is not the one of this browser's sign-in")
	case id.Subject == "" || len(id.Subject) > 255:
		return nil, errors.New("there is no subject, or one of more than 255 bytes")
	case s.Before > soon || s.Issued > soon:
		return nil, errors.New("it is not valid yet")
	case len(id.Audience) > 1 && s.Party != p.o.ClientID, s.Party != "" && s.Party != p.o.ClientID:
		return nil, errors.New("it was made for another party")
	}
	if id.AccessTokenHash != "" {
		if err := id.VerifyAccessToken(tok.AccessToken); err != nil {
			return nil, err
		}
	}
	c := &claims{Subject: id.Subject}
	if s.AuthTime > 0 && float64(s.AuthTime) <= soon {
		c.AuthTime = time.Unix(s.AuthTime, 0)
	}
	if err := c.read(&s, all[p.o.GroupsClaim]); err != nil {
		return nil, err
	}
	if (all["email"] == nil || all[p.o.GroupsClaim] == nil) && found.UserInfoEndpoint() != "" {
		err = p.ask(ctx, found, tok, c)
	}
	return c, err
}

// ask reads what the token left out from the provider's other source.
func (p *Provider) ask(ctx context.Context, found *oidc.Provider, tok *oauth2.Token, c *claims) error {
	info, err := found.UserInfo(ctx, oauth2.StaticTokenSource(tok))
	if err != nil {
		return fmt.Errorf("userinfo: %w", err)
	}
	if info.Subject != c.Subject {
		return errors.New("userinfo is of somebody else")
	}
	var all map[string]json.RawMessage
	var s said
	if err := errors.Join(info.Claims(&all), info.Claims(&s)); err != nil {
		return fmt.Errorf("userinfo: %w", err)
	}
	return c.read(&s, all[p.o.GroupsClaim])
}

// read takes what is said over what is not known yet. An address that is not verified is none.
func (c *claims) read(s *said, groups json.RawMessage) error {
	if v := string(s.Verified); c.Email == "" && (v == "true" || v == `"true"`) {
		c.Email = account.NormalEmail(s.Email)
	}
	if c.Name == "" {
		c.Name = s.Name
	}
	if c.Groups != nil || groups == nil {
		return nil
	}
	var one string
	if json.Unmarshal(groups, &one) == nil {
		c.Groups = []string{one}
		return nil
	}
	if err := json.Unmarshal(groups, &c.Groups); err != nil || len(c.Groups) > maxGroups {
		return fmt.Errorf("the claim of groups is no text and no list of up to %d texts", maxGroups)
	}
	return nil
}

// foreign finds the role that somebody's groups give.
func (p *Provider) foreign(ctx context.Context, c *claims) (*account.Foreign, error) {
	i := slices.IndexFunc(p.o.Grants, func(g Grant) bool { return g.Group == "*" || slices.Contains(c.Groups, g.Group) })
	if i < 0 {
		return nil, &llm.Error{
			Kind: llm.KindForbidden, Code: account.CodeRefused, Msg: "you are signed in at the provider of identities, but none of your groups there has a role here: ask who runs the gateway",
			Err: fmt.Errorf("none of %d groups has a role", len(c.Groups)),
		}
	}
	g := p.o.Grants[i]
	realm, err := p.o.Realm(ctx, g.Role, g.Home, c.Email, c.Name)
	if err != nil {
		return nil, fmt.Errorf("realm of the group %q: %w", g.Group, err)
	}
	return &account.Foreign{Issuer: p.o.Issuer, Subject: c.Subject, Email: c.Email, Name: c.Name, Role: g.Role, Realm: realm, AuthTime: c.AuthTime}, nil
}
