package admin

import (
	"cmp"
	"net/http"
	"slices"
	"time"

	"sluice/internal/account"
	"sluice/internal/control"
	"sluice/internal/llm"
)

// SignIn is what POST /admin/session takes.
type SignIn struct {
	Email    string `json:"email"`
	Password string `json:"password"`
	Code     string `json:"code,omitzero"` // of the authenticator, or a recovery code
}

// Session is who is signed in, and what they may do.
type Session struct {
	Kind      string            `json:"kind"` // person, token or operator
	ID        string            `json:"id,omitzero"`
	Account   string            `json:"account,omitzero"` // of a token: whose it is
	Name      string            `json:"name"`
	Email     string            `json:"email,omitzero"`
	Role      control.Role      `json:"role"`
	Realm     control.RealmView `json:"realm,omitzero"`
	Scopes    []string          `json:"scopes,omitzero"`
	Acts      []control.Act     `json:"acts"`             // that they may do now, or after a fresh proof
	Fresh     bool              `json:"fresh"`            // they have shown within minutes that it is them
	MustEnrol bool              `json:"must_enrol"`       // nothing is theirs to do until they have one-time codes
	TOTP      bool              `json:"totp"`             // they have one-time codes
	Password  bool              `json:"password"`         // they have a password
	CSRF      string            `json:"csrf,omitzero"`    // what to send as X-Sluice-CSRF; of a session only
	Session   string            `json:"session,omitzero"` // its id
	Ends      time.Time         `json:"ends,omitzero"`
}

// ProofIn is what POST /admin/session/proof takes: the code, where they have one-time codes, else the password.
type ProofIn struct {
	Password string `json:"password,omitzero"`
	Code     string `json:"code,omitzero"`
}

// Enrolment is a secret for an authenticator.
type Enrolment struct {
	Secret string `json:"secret"` // in base 32, for typing
	URL    string `json:"url"`    // otpauth://, for a picture
	Ticket string `json:"ticket"` // to be sent with the first code
}

// Confirmation puts an enrolment in force.
type Confirmation struct {
	Ticket string `json:"ticket"`
	Code   string `json:"code"`
}

// Codes are recovery codes, each good for one sign-in. They are told once.
type Codes struct {
	Codes []string `json:"recovery_codes"`
	CSRF  string   `json:"csrf,omitzero"` // of the session, which goes on under another cookie
}

// LinkIn is a one-time link's token, in the body: an address is logged by others.
type LinkIn struct {
	Token    string `json:"token"`
	Password string `json:"password,omitzero"` // to be set; left out: only tell whose it would be
	Email    string `json:"email,omitzero"`    // of an account that has none yet: the first owner's
	Name     string `json:"name,omitzero"`     // of its owner; left out: it stays
}

// LinkOut is whose password a link sets.
type LinkOut struct {
	Email string `json:"email"`
	Reset bool   `json:"reset"` // it replaces a password
	Done  bool   `json:"done"`  // it is set, and the link is used up
}

// NewPassword is what POST /admin/session/password takes.
type NewPassword struct {
	Was string `json:"was"`
	Is  string `json:"is"`
}

// sessions are the routes by which people show who they are.
func (h *Handler) sessions() []Route {
	self := func(method, path, summary string, in, out any, status int, serve func(*request) (any, error)) Route {
		return Route{Method: method, Path: path, For: ForSignedIn, Summary: summary, In: in, Out: out, Status: status, serve: serve}
	}
	open := func(method, path, summary string, in, out any, status int, serve func(*request) (any, error)) Route {
		r := self(method, path, summary, in, out, status, serve)
		r.For = ForAnybody
		return r
	}
	return []Route{
		open(http.MethodPost, "/admin/session", "Sign in. The session is in a cookie; csrf is what unsafe requests of it must carry as X-Sluice-CSRF.", SignIn{}, Session{}, http.StatusCreated, h.signIn),
		self(http.MethodGet, "/admin/session", "Tell who makes the request, and what they may do.", nil, Session{}, http.StatusOK, func(q *request) (any, error) {
			return h.session(q), nil
		}),
		self(http.MethodDelete, "/admin/session", "Sign out. The session is dead everywhere.", nil, Nothing{}, http.StatusOK, h.signOut),
		self(http.MethodPost, "/admin/session/proof", "Show anew that it is you, which secrets and roles need.", ProofIn{}, Session{}, http.StatusOK, h.prove),
		self(http.MethodPost, "/admin/session/password", "Take another password. All other sessions end.", NewPassword{}, Session{}, http.StatusOK, h.changePassword),
		self(http.MethodPost, "/admin/session/totp", "Draw a secret for an authenticator. It is in force once a code of it was sent.", Nothing{}, Enrolment{}, http.StatusOK, h.enrol),
		self(http.MethodPost, "/admin/session/totp/confirm", "Put an authenticator's secret in force. The answer has recovery codes, once.", Confirmation{}, Codes{}, http.StatusOK, h.confirm),
		self(http.MethodPost, "/admin/session/totp/codes", "Take other recovery codes, which are in the answer, once.", Nothing{}, Codes{}, http.StatusOK, h.newCodes),
		self(http.MethodDelete, "/admin/session/totp", "Do without one-time codes, where the role may.", nil, Session{}, http.StatusOK, h.dropTOTP),
		h.depart(),
		h.comeBack(),
		open(http.MethodPost, "/admin/links", "Set the password of an account by a one-time link, or without a password tell whose it would be.", LinkIn{}, LinkOut{}, http.StatusOK, h.link),
	}
}

// ours refuses what only a session can do.
func (h *Handler) ours(q *request) error {
	if h.o.Door == nil {
		return errNoGateway
	}
	if q.who.cookie == "" {
		return &llm.Error{Kind: llm.KindForbidden, Code: "no_session", Msg: "this is for people who are signed in, with a cookie"}
	}
	return nil
}

func (h *Handler) signIn(q *request) (any, error) {
	var in SignIn
	if err := q.read(&in); err != nil {
		return nil, err
	}
	if h.o.Door == nil {
		return nil, errNoGateway
	}
	return h.entered(q)(h.o.Door.SignIn(q.Context(), account.Credentials{Email: in.Email, Password: in.Password, Code: in.Code, Old: sessionCookie(q.Request)}, h.client(q)))
}

// entered answers with a session that began or goes on under another cookie.
func (h *Handler) entered(q *request) func(*account.Entered, error) (any, error) {
	return func(e *account.Entered, err error) (any, error) {
		if err != nil {
			return nil, err
		}
		h.adopt(q, e)
		return h.session(q), nil
	}
}

// adopt makes a session that of the rest of a request.
func (h *Handler) adopt(q *request, e *account.Entered) {
	setCookie(q, e.Cookie)
	q.who = identity{control.ActorOf(&e.Signed, h.o.Now(), h.client(q), ""), string(e.Cookie), &e.Signed}
	q.actor = q.who.actor
}

// session tells who makes a request.
func (h *Handler) session(q *request) *Session {
	a, s := q.who.actor, q.who.signed
	out := &Session{
		Kind: a.Audit.Kind, ID: a.ID, Name: a.Name, Role: a.Role, Realm: control.RealmView{Kind: a.Kind, ID: a.Realm, Organisation: a.Org},
		Scopes: a.Scopes, Fresh: a.Fresh, Acts: []control.Act{},
	}
	for _, name := range control.Acts() {
		proved := a
		proved.Fresh = true
		if proved.May(name) == nil {
			out.Acts = append(out.Acts, name)
		}
	}
	if s == nil {
		return out
	}
	out.Role, out.Email, out.Account, out.MustEnrol, out.TOTP, out.Password, out.Session, out.Ends = s.Role, s.Email, s.Account, s.MustEnrol, s.Enrolled, s.Password, s.Session, s.Ends
	if q.who.cookie != "" {
		out.CSRF = h.o.Door.CSRF(q.who.cookie)
	}
	return out
}

func (h *Handler) signOut(q *request) (any, error) {
	if err := h.ours(q); err != nil {
		return nil, err
	}
	if err := h.o.Door.SignOut(q.Context(), q.who.cookie, h.client(q)); err != nil {
		return nil, err
	}
	setCookie(q, "")
	return &Nothing{}, nil
}

func (h *Handler) prove(q *request) (any, error) {
	var in ProofIn
	if err := q.read(&in); err != nil {
		return nil, err
	}
	if err := h.ours(q); err != nil {
		return nil, err
	}
	return h.entered(q)(h.o.Door.Prove(q.Context(), q.who.cookie, account.Proof{Password: in.Password, Code: in.Code}, h.client(q)))
}

func (h *Handler) changePassword(q *request) (any, error) {
	var in NewPassword
	if err := q.read(&in); err != nil {
		return nil, err
	}
	if err := h.ours(q); err != nil {
		return nil, err
	}
	return h.entered(q)(h.o.Door.ChangePassword(q.Context(), q.who.cookie, in.Was, in.Is, h.client(q)))
}

func (h *Handler) enrol(q *request) (any, error) {
	if err := q.read(&Nothing{}); err != nil {
		return nil, err
	}
	if err := h.ours(q); err != nil {
		return nil, err
	}
	e, err := h.o.Door.Enrol(q.Context(), q.who.cookie)
	if err != nil {
		return nil, err
	}
	return &Enrolment{e.Secret, e.URL, e.Ticket}, nil
}

func (h *Handler) confirm(q *request) (any, error) {
	var in Confirmation
	if err := q.read(&in); err != nil {
		return nil, err
	}
	if err := h.ours(q); err != nil {
		return nil, err
	}
	e, codes, err := h.o.Door.Confirm(q.Context(), q.who.cookie, in.Ticket, in.Code, h.client(q))
	if err != nil {
		return nil, err
	}
	h.adopt(q, e)
	return &Codes{codes, e.CSRF}, nil
}

func (h *Handler) newCodes(q *request) (any, error) {
	if err := q.read(&Nothing{}); err != nil {
		return nil, err
	}
	if err := h.ours(q); err != nil {
		return nil, err
	}
	codes, err := h.o.Door.NewCodes(q.Context(), q.who.cookie, h.client(q))
	if err != nil {
		return nil, err
	}
	return &Codes{Codes: slices.Clone(codes)}, nil
}

func (h *Handler) dropTOTP(q *request) (any, error) {
	if err := h.ours(q); err != nil {
		return nil, err
	}
	if err := h.o.Door.DropTOTP(q.Context(), q.who.cookie, h.client(q)); err != nil {
		return nil, err
	}
	s, err := h.o.Door.Session(q.Context(), q.who.cookie, h.client(q))
	if err != nil {
		return nil, unknown(err)
	}
	q.who.signed = s
	return h.session(q), nil
}

func (h *Handler) link(q *request) (any, error) {
	var in LinkIn
	if err := q.read(&in); err != nil {
		return nil, err
	}
	if h.o.Door == nil {
		return nil, errNoGateway
	}
	email, reset, err := h.o.Door.ReadLink(q.Context(), in.Token)
	if err != nil {
		return nil, err
	}
	if in.Password == "" {
		return &LinkOut{Email: email, Reset: reset}, nil
	}
	if err := h.o.Door.Redeem(q.Context(), account.Redemption(in), h.client(q)); err != nil {
		return nil, err
	}
	return &LinkOut{cmp.Or(email, account.NormalEmail(in.Email)), reset, true}, nil
}
