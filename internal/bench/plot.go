package bench

import (
	"fmt"
	"html"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"io"
	"strings"
)

// chart is groups of bars with a scale from 0 to most.
type chart struct {
	title  string
	groups []group
	most   float64
	mark   float64 // a line at this value; 0: none
}

type group struct {
	label string
	bars  []chartBar
}

// chartBar is a value and the spread of the rounds that it is the median of.
type chartBar struct {
	label, text      string
	value, low, high float64
}

// chart shows what the report is about: CPU per call beside the baseline or, without one, calls a second.
func (r *Report) chart() chart {
	c := chart{title: "CPU per call, " + r.Method.Baseline + " = 1", mark: 1}
	if r.Method.Baseline == "" {
		c = chart{title: "calls per second"}
	}
	for _, s := range r.Scenarios {
		g := group{label: s.Name}
		for _, t := range s.Targets {
			b := chartBar{label: t.Target}
			ratio, ok := t.Ratios["cpu"]
			switch {
			case r.Method.Baseline == "":
				b.value, b.low, b.high = t.Median.Throughput, t.Median.Throughput, t.Median.Throughput
				b.text = fmt.Sprintf("%.0f", b.value)
			case ok:
				b.value, b.low, b.high = ratio.Median, ratio.Low, ratio.High
				b.text = fmt.Sprintf("%.2f", b.value)
			case t.Target == r.Method.Baseline && t.Median.CPU > 0:
				b.value, b.low, b.high, b.text = 1, 1, 1, "1"
			}
			if b.value > 0 {
				g.bars = append(g.bars, b)
				c.most = max(c.most, b.high)
			}
		}
		if len(g.bars) > 0 && s.Name != "slow" {
			c.groups = append(c.groups, g)
		}
	}
	return c
}

// canvas is what a chart is drawn on.
type canvas interface {
	rect(x, y, w, h int, c color.RGBA)
	text(x, y int, s string, c color.RGBA) // y is the top; letters are glyphHeight high
}

const (
	chartWidth  = 860
	labelWidth  = 200
	valueWidth  = 90
	barHeight   = 20
	groupGap    = 14
	chartTop    = 50
	glyphScale  = 3
	glyphWidth  = 4 * glyphScale
	glyphHeight = 5 * glyphScale
)

var (
	white   = color.RGBA{255, 255, 255, 255}
	ink     = color.RGBA{40, 44, 52, 255}
	pale    = color.RGBA{190, 196, 204, 255}
	palette = []color.RGBA{{31, 119, 180, 255}, {150, 160, 172, 255}, {214, 122, 44, 255}, {76, 145, 65, 255}, {130, 94, 158, 255}}
)

func (c *chart) height() int {
	h := chartTop + groupGap
	for _, g := range c.groups {
		h += len(g.bars)*barHeight + groupGap
	}
	return h
}

// draw lays the chart out, the same for every kind of canvas.
func (c *chart) draw(to canvas) {
	height := c.height()
	to.rect(0, 0, chartWidth, height, white)
	to.text(10, 16, c.title, ink)
	scale := func(v float64) int { return int(v / max(c.most, 1e-9) * (chartWidth - labelWidth - valueWidth)) }
	y := chartTop
	colors := map[string]color.RGBA{}
	for _, g := range c.groups {
		to.text(10, y+2, g.label, ink)
		for _, b := range g.bars {
			if _, ok := colors[b.label]; !ok {
				colors[b.label] = palette[len(colors)%len(palette)]
			}
			to.text(labelWidth-10-glyphWidth*len([]rune(b.label)), y+2, b.label, ink)
			to.rect(labelWidth, y, max(1, scale(b.value)), barHeight-4, colors[b.label])
			to.rect(labelWidth+scale(b.low), y+barHeight/2-3, max(1, scale(b.high)-scale(b.low)), 2, ink)
			to.text(labelWidth+scale(b.high)+8, y+2, b.text, ink)
			y += barHeight
		}
		y += groupGap
	}
	if c.mark > 0 && c.mark <= c.most {
		to.rect(labelWidth+scale(c.mark), chartTop-6, 1, height-chartTop, pale)
	}
}

// writeSVG writes the chart as SVG.
func (c *chart) writeSVG(w io.Writer) error {
	var s svg
	fmt.Fprintf(&s.b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="14">`+"\n", chartWidth, c.height())
	c.draw(&s)
	s.b.WriteString("</svg>\n")
	_, err := io.WriteString(w, s.b.String())
	return err
}

type svg struct{ b strings.Builder }

func hex(c color.RGBA) string { return fmt.Sprintf("#%02x%02x%02x", c.R, c.G, c.B) }

func (s *svg) rect(x, y, w, h int, c color.RGBA) {
	fmt.Fprintf(&s.b, `<rect x="%d" y="%d" width="%d" height="%d" fill="%s"/>`+"\n", x, y, w, h, hex(c))
}

func (s *svg) text(x, y int, t string, c color.RGBA) {
	fmt.Fprintf(&s.b, `<text x="%d" y="%d" fill="%s">%s</text>`+"\n", x, y+glyphHeight-3, hex(c), html.EscapeString(t))
}

// writePNG writes the chart as PNG, in letters of its own: the standard library has none.
func (c *chart) writePNG(w io.Writer) error {
	p := &pixels{image.NewRGBA(image.Rect(0, 0, chartWidth, c.height()))}
	c.draw(p)
	return png.Encode(w, p.RGBA)
}

type pixels struct{ *image.RGBA }

func (p *pixels) rect(x, y, w, h int, c color.RGBA) {
	draw.Draw(p.RGBA, image.Rect(x, y, x+w, y+h), image.NewUniform(c), image.Point{}, draw.Src)
}

func (p *pixels) text(x, y int, s string, c color.RGBA) {
	for _, r := range strings.ToUpper(s) {
		for i, bit := range glyphs[r] {
			if bit == '#' {
				p.rect(x+i%3*glyphScale, y+i/3*glyphScale, glyphScale, glyphScale, c)
			}
		}
		x += glyphWidth
	}
}

// glyphs are letters of three by five squares, row by row; a letter that is not here is a blank.
var glyphs = map[rune]string{
	'0': "####.##.##.####", '1': ".#.##..#..#.###", '2': "###..#####..###", '3': "###..####..####", '4': "#.##.####..#..#",
	'5': "####..###..####", '6': "####..####.####", '7': "###..#.#..#..#.", '8': "####.#####.####", '9': "####.####..####",
	'A': ".#.#.#####.##.#", 'B': "##.#.###.#.###.", 'C': ".###..#..#...##", 'D': "##.#.##.##.###.", 'E': "####..##.#..###",
	'F': "####..##.#..#..", 'G': ".###..#.##.#.##", 'H': "#.##.#####.##.#", 'I': "###.#..#..#.###", 'J': "..#..#..##.#.#.",
	'K': "#.##.###.#.##.#", 'L': "#..#..#..#..###", 'M': "#.########.##.#", 'N': "##.#.##.##.##.#", 'O': ".#.#.##.##.#.#.",
	'P': "##.#.###.#..#..", 'Q': ".#.#.##.###..##", 'R': "##.#.###.#.##.#", 'S': ".###...#...###.", 'T': "###.#..#..#..#.",
	'U': "#.##.##.##.####", 'V': "#.##.##.##.#.#.", 'W': "#.##.########.#", 'X': "#.##.#.#.#.##.#", 'Y': "#.##.#.#..#..#.",
	'Z': "###..#.#.#..###", '.': ".............#.", ',': "..........#.#..", '-': "......###......", '=': "...###...###...", '/': "..#..#.#.#..#..",
	':': "....#.....#....", '(': ".#.#..#..#...#.", ')': ".#...#..#..#.#.", '%': "#.#..#.#.#..#.#", '_': "............###", '+': "....#.###.#....",
}
