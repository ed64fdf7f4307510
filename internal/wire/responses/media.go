package responses

import (
	"encoding/base64"
	"net/url"
	"path"
	"strings"

	"sluice/internal/llm"
)

// media reads an input part, nil when it is none.
func (c *content) media() *llm.Media {
	switch c.Type {
	case "input_image":
		m := &llm.Media{Kind: llm.MediaImage, FileID: c.FileID, Detail: c.Detail}
		setURL(m, c.ImageURL)
		return m
	case "input_file":
		m := &llm.Media{Kind: llm.MediaDocument, FileID: c.FileID, Name: c.Filename, Detail: c.Detail}
		switch {
		case c.FileData == "":
			setURL(m, c.FileURL)
		case strings.HasPrefix(c.FileData, "data:"):
			setURL(m, c.FileData)
		default:
			m.Data = c.FileData
		}
		if m.Type == "" {
			m.Type = typeOfName(c.Filename)
		}
		if m.Type == "" && m.Data != "" {
			m.Type = "application/pdf" // what the API takes data of no type for
		}
		return m
	case "input_audio":
		if c.InputAudio == nil {
			return nil
		}
		m := &llm.Media{Kind: llm.MediaAudio, Data: c.InputAudio.Data, Type: "audio/" + c.InputAudio.Format}
		if c.InputAudio.Format == "mp3" {
			m.Type = "audio/mpeg"
		}
		return m
	}
	return nil
}

// setURL takes a URL apart if it is a data URL.
func setURL(m *llm.Media, s string) {
	rest, ok := strings.CutPrefix(s, "data:")
	head, data, comma := strings.Cut(rest, ",")
	if !ok || !comma {
		m.URL = s
		return
	}
	kind, encoded := strings.CutSuffix(head, ";base64")
	m.Type, _, _ = strings.Cut(kind, ";")
	m.Data = data
	if !encoded {
		if text, err := url.PathUnescape(data); err == nil {
			data = text
		}
		m.Data = base64.StdEncoding.EncodeToString([]byte(data))
	}
}

// typeOfName is the MIME type of a document whose part does not say it. The platform's table of types is
// left alone: the answer must not depend on the machine.
func typeOfName(name string) string {
	switch strings.ToLower(path.Ext(name)) {
	case ".pdf":
		return "application/pdf"
	case ".txt", ".log":
		return "text/plain"
	case ".md":
		return "text/markdown"
	case ".csv":
		return "text/csv"
	case ".html", ".htm":
		return "text/html"
	case ".json":
		return "application/json"
	case ".docx":
		return "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
	}
	return ""
}

// mediaContent writes a media part; why says what stands in the way. A file given as data needs a name.
func mediaContent(m *llm.Media, foreign bool) (c content, why string) {
	switch m.Kind {
	case llm.MediaImage:
		c = content{Type: "input_image", FileID: m.FileID, ImageURL: m.URL, Detail: m.Detail}
		if m.Data != "" {
			c.ImageURL = dataURL(or(m.Type, "image/png"), m.Data)
		}
	case llm.MediaDocument:
		c = content{Type: "input_file", FileID: m.FileID, FileURL: m.URL, Filename: m.Name, Detail: m.Detail}
		switch {
		case m.Text != "":
			c.FileData = dataURL("text/plain", base64.StdEncoding.EncodeToString([]byte(m.Text)))
			if c.Filename == "" {
				c.Filename = "document.txt"
			}
		case m.Data != "":
			c.FileData = dataURL(or(m.Type, "application/pdf"), m.Data)
			if c.Filename == "" && foreign {
				c.Filename = "document" + extension(m.Type)
			}
		}
	case llm.MediaAudio:
		c = content{Type: "input_audio", InputAudio: &inputAudio{Data: m.Data, Format: audioFormat(m.Type)}}
		if m.Data == "" {
			return c, "the upstream takes audio only as data"
		}
		if c.InputAudio.Format == "" {
			return c, "the upstream takes audio only as wav or mp3, not " + m.Type
		}
	default:
		return c, "the upstream takes no " + string(m.Kind)
	}
	return c, ""
}

func dataURL(kind, data string) string { return "data:" + kind + ";base64," + data }

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func extension(kind string) string {
	switch kind {
	case "text/plain":
		return ".txt"
	case "text/markdown":
		return ".md"
	case "text/csv":
		return ".csv"
	case "text/html":
		return ".html"
	case "application/json":
		return ".json"
	case "application/vnd.openxmlformats-officedocument.wordprocessingml.document":
		return ".docx"
	}
	return ".pdf"
}

func audioFormat(kind string) string {
	switch kind {
	case "audio/wav", "audio/x-wav", "audio/wave":
		return "wav"
	case "audio/mpeg", "audio/mp3":
		return "mp3"
	}
	return ""
}
