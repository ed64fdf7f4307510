package llm

// A Payload is what the bytes of a request mean: *Chat or *Embed.
type Payload interface{ payload() }

func (*Chat) payload()  {}
func (*Embed) payload() {}

// A Chat is a conversation to be continued: the hub that every chat format is translated through.
// A nil pointer or empty value means the client did not say; defaults are the upstream's business.
type Chat struct {
	Format   Format // what it was decoded from; Extra and Foreign belong to it
	Messages []Message
	Tools    []Tool
	Choice   *ToolChoice
	Parallel *bool // may several tools be called in one turn

	MaxOutput        *int64 // output tokens
	Temperature      *float64
	TopP             *float64
	TopK             *int64
	MinP             *float64
	FrequencyPenalty *float64
	PresencePenalty  *float64
	Seed             *int64
	Stop             []string
	N                *int64
	Logprobs         *bool
	TopLogprobs      *int64
	LogitBias        Raw // OpenAI's shape: token id to bias

	Thinking    *Thinking
	Output      *Output
	ServiceTier string
	User        string // the client's own user id (OpenAI user, Anthropic metadata.user_id)
	Store       *bool
	Metadata    Raw // OpenAI's metadata object
	CacheKey    string
	Verbosity   string

	// Completion marks a legacy text completion: one user message that is a bare prompt.
	Completion bool

	Extra, Hints Members
}

// A Role says whose turn a message is.
type Role string

// The roles. A tool result may stand in a message of RoleTool (OpenAI's way: one message a result) or in
// one of RoleUser (Anthropic's and Gemini's way: parts of the user's turn).
const (
	RoleSystem    Role = "system"
	RoleDeveloper Role = "developer"
	RoleUser      Role = "user"
	RoleAssistant Role = "assistant"
	RoleTool      Role = "tool"
)

// A Message is one turn, or one of several in a row of the same role.
type Message struct {
	Role  Role
	Name  string // of the participant, where the format has one
	Parts []Part
	ID    string // item id, where the format has one (Responses)
	Extra Members
	Hints Members
	At    string // JSON pointer into the client's document, for error messages
}

// A Part is one piece of a message. At most one of the pointers is set; with none it is text.
type Part struct {
	Text      string
	Media     *Media
	Call      *ToolCall
	Result    *ToolResult
	Reasoning *Reasoning
	Refusal   *string // the model declined, in these words
	Foreign   Raw     // a block that only the format it came in knows, kept verbatim

	Citations []Citation // of a text part
	Cache     *Cache     // a prompt-cache breakpoint after this part
	Signature *Signature // an opaque proof that goes back with the part to whoever made it
	Extra     Members
	Hints     Members
	At        string // JSON pointer into the client's document, for error messages
}

// A MediaKind is what a media part is to a model.
type MediaKind string

// The kinds of media.
const (
	MediaImage    MediaKind = "image"
	MediaAudio    MediaKind = "audio"
	MediaVideo    MediaKind = "video"
	MediaDocument MediaKind = "document"
)

// Media is an image, a document, a sound or a film. Exactly one of Data, URL, FileID and Text is set.
type Media struct {
	Kind   MediaKind
	Type   string // MIME type; may be empty for a URL or a file id
	Data   string // base64 (standard alphabet), as it came
	URL    string
	FileID string // the provider's own file; means nothing elsewhere
	Text   string // a document given as plain text
	Name   string // file name or title
	Detail string // OpenAI's image detail: auto, low, high, original
	Extra  Members
}

// A ToolCall is the model's wish to have a tool run.
type ToolCall struct {
	ID     string
	Name   string
	Args   []byte // JSON text of the arguments, as the model wrote it; in a stream, a piece of it
	ItemID string // item id, where the format has one beside the call id (Responses)
	Custom bool   // a free-form tool: Args is plain text, not JSON
}

// A ToolResult answers a ToolCall.
type ToolResult struct {
	CallID string
	Name   string // of the tool, where the format says it
	Parts  []Part
	Failed bool // the tool failed; Parts say how
	Custom bool
}

// Reasoning is what a model thought. It goes back only to the vendor that signed it.
type Reasoning struct {
	Text     string
	Redacted []byte // encrypted reasoning without text, as the vendor wrote it
	Summary  bool   // Text is a summary, not the reasoning itself
	ID       string // item id, where the format has one (Responses)
	Block    int    // which of several summary texts this is (Responses)
}

// A Signature is a vendor's opaque proof of a part: Anthropic's thinking signature, Gemini's thought
// signature, OpenAI's encrypted reasoning.
type Signature struct {
	By    string // "anthropic", "gemini", "openai": who made it, and so who may get it back
	Value string
}

// A Citation backs a text part with a source.
type Citation struct {
	URL        string
	Title      string
	Quote      string
	Start, End int // range in the text, in characters; both 0: unknown
	Native     Raw // the citation in its own format
}

// Cache is a prompt-cache breakpoint (Anthropic's cache_control).
type Cache struct {
	TTL string // "", "5m" or "1h"
}

// A Tool is something the model may ask to have run.
type Tool struct {
	Name        string
	Description string
	Schema      Raw // JSON Schema of the arguments; nil: none given
	Strict      *bool
	Cache       *Cache
	Foreign     Raw // a tool that runs at the provider, kept verbatim; then nothing else is set
	Extra       Members
	Hints       Members
	At          string
}

// A ToolChoice says whether and which tool must be called.
type ToolChoice struct {
	Mode    ChoiceMode
	Name    string   // for ChoiceTool
	Allowed []string // for ChoiceAuto and ChoiceRequired: only these, when set
	Foreign Raw      // a choice only its own format knows
}

// A ChoiceMode is a way to choose tools.
type ChoiceMode string

// The modes.
const (
	ChoiceAuto     ChoiceMode = "auto"
	ChoiceNone     ChoiceMode = "none"
	ChoiceRequired ChoiceMode = "required" // at least one, any
	ChoiceTool     ChoiceMode = "tool"     // exactly the named one
)

// Thinking asks for reasoning.
type Thinking struct {
	Off     bool   // explicitly none
	Auto    bool   // the model decides how much (Anthropic "adaptive", Gemini budget -1)
	Effort  string // "minimal", "low", "medium", "high", "xhigh", "max"; "" not said
	Budget  *int64 // tokens
	Show    *bool  // send the thoughts back (Gemini includeThoughts)
	Summary string // OpenAI Responses: "auto", "concise", "detailed"; Anthropic display
	Extra   Members
}

// An OutputKind is a form the answer must have.
type OutputKind string

// The forms.
const (
	OutputText   OutputKind = "text"
	OutputJSON   OutputKind = "json"
	OutputSchema OutputKind = "schema"
)

// Output asks for a form of answer.
type Output struct {
	Kind        OutputKind
	Name        string
	Description string
	Schema      Raw
	Strict      *bool
	Extra       Members
}

// An Embed asks for vectors.
type Embed struct {
	Format     Format
	Inputs     []EmbedInput
	One        bool // the input was one string, not an array of one
	Dimensions *int64
	Encoding   string // "float", "base64"; "" not said
	User       string
	Task       string // Gemini's taskType
	Title      string // Gemini's title
	Extra      Members
}

// An EmbedInput is one text, or one list of token ids.
type EmbedInput struct {
	Text   string
	Tokens []int64
	Extra  Members
	At     string
}
