package guard

import "strings"

// What a string is, by where it stands and what it looks like.
type kind uint8

const (
	kindText  kind = iota
	kindWord       // the protocol's: a word of a list, an id, a proof. It goes on as it came
	kindMedia      // base64: nobody here can read it
)

// words are the members whose values are words of a protocol, in any format, where they look like one.
var words = set(`model role type object status detail effort mode media_type mime_type mimeType service_tier verbosity
	tool_choice function_call finish_reason encoding_format format quality size voice language truncation ttl summary
	modalities responseModalities response_modalities include taskType task_type responseMimeType response_mime_type
	category threshold thinking cache_control prompt_cache_retention search_context_size outcome phase action
	defer_loading allowed_callers runtime display speed geo inference_geo thinkingLevel mediaResolution media_resolution`)

// proofs are opaque to everybody but their maker, and worth nothing once changed.
var proofs = set(`signature thoughtSignature thought_signature encrypted_content encrypted_index redacted encrypted_stdout`)

// media are the members that hold files as base64.
var media = set(`data file_data fileData b64_json bytes image imageBytes image_bytes videoBytes audio url image_url file_url result`)

// dataIn are the members whose objects are data of the application, not of the protocol: arguments and results of tools,
// schemas, labels. In them names are text, too.
var dataIn = set(`input args arguments response metadata labels parameters parametersJsonSchema parameters_json_schema input_schema
	inputSchema schema responseSchema response_schema responseJsonSchema response_json_schema variables structured_content
	responseParametersJsonSchema`)

func set(list string) map[string]bool {
	out := make(map[string]bool)
	for name := range strings.FieldsSeq(list) {
		out[name] = true
	}
	return out
}

// data tells whether the value that begins with a byte is data, under a name in an object under another.
func data(name string, begins byte, parent string) bool {
	if begins != '{' || !dataIn[name] {
		return false
	}
	return name != "response" || parent == "functionResponse" || parent == "function_response"
}

// kindOf tells what a string is.
func kindOf(f field, s string) kind {
	if f.free {
		return kindText
	}
	switch {
	case proofs[f.name] && packed(s, 1):
		return kindWord
	case f.name == "data" && strings.HasPrefix(f.parent, "reasoning_details") && packed(s, 1):
		return kindWord // OpenRouter's form of a proof
	case dataURL(s), media[f.name] && packed(s, shortestMedia):
		return kindMedia
	case (words[f.name] || identifier(f.name)) && word(s):
		return kindWord
	case f.name == "name" && f.parent != "messages" && word(s):
		return kindWord // of a tool or a schema; of a message it is a person's
	}
	return kindText
}

// identifier tells whether a member holds an id that a provider or an SDK made. Ids of people are text.
func identifier(name string) bool {
	switch name {
	case "id", "conversation", "container", "previous_response_id", "cachedContent", "cached_content":
		return true
	case "user_id", "userId", "end_user_id":
		return false
	}
	return strings.HasSuffix(name, "_id") || strings.HasSuffix(name, "Id")
}

// word tells whether a string is one word of letters, digits and a little punctuation, and not a number.
func word(s string) bool {
	const most = 256
	letter := false
	if len(s) > most {
		return false
	}
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
			letter = true
		case '0' <= c && c <= '9', strings.IndexByte("_-.:/=+", c) >= 0:
		default:
			return false
		}
	}
	return letter || s == ""
}

// shortestMedia is the least length of base64 that is taken for a file: shorter strings in its place are read as text.
const shortestMedia = 64

// packed tells whether a string is base64 of at least so many bytes, as standard or as URLs have it.
func packed(s string, least int) bool {
	if len(s) < least {
		return false
	}
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("+/-_=", c) >= 0, c == '\n', c == '\r':
		default:
			return false
		}
	}
	return true
}

// dataURL tells whether a string is a file in a URL (RFC 2397).
func dataURL(s string) bool {
	if len(s) < 5 || !strings.EqualFold(s[:5], "data:") {
		return false
	}
	head, _, ok := strings.Cut(s, ",")
	return ok && len(head) < 256 && strings.HasSuffix(strings.ToLower(head), ";base64")
}
