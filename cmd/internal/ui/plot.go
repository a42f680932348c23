package ui

import (
	"errors"
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Bar is one bar of a chart, with its interval. Low and High equal to Value mean that there is none.
type Bar struct {
	Label     string
	Value     float64
	Low, High float64
	Group     string // bars of one group share a colour; groups are coloured in order of appearance
}

// Point is one point of a line.
type Point struct{ X, Y float64 }

// Series is one line of a chart.
type Series struct {
	Name   string
	Points []Point
}

// palette is Okabe and Ito's, readable with colour-blindness.
var palette = []color.NRGBA{
	{0, 114, 178, 255}, {230, 159, 0, 255}, {0, 158, 115, 255}, {204, 121, 167, 255},
	{86, 180, 233, 255}, {213, 94, 0, 255}, {240, 228, 66, 255}, {90, 90, 90, 255},
}

// errNothing is returned for a chart without a single finite value.
var errNothing = errors.New("nothing to plot")

// SaveBars draws a bar chart with intervals and writes base.svg and base.png. Bars start at zero, up or
// down; a value that is not finite leaves its place empty.
func SaveBars(base, title, yLabel string, bars []Bar) error {
	p := newPlot(title, "", yLabel)
	var labels []string
	groups := map[string]int{}
	drawn := 0
	for i, b := range bars {
		labels = append(labels, b.Label)
		if !finite(b.Value) {
			continue
		}
		if _, known := groups[b.Group]; !known {
			groups[b.Group] = len(groups)
		}
		p.Add(&barPlotter{bar: b, x: float64(i), color: palette[groups[b.Group]%len(palette)]})
		drawn++
	}
	if drawn == 0 {
		return fmt.Errorf("%s: %w", base, errNothing)
	}
	p.NominalX(labels...)
	p.X.Tick.Label.Rotation = math.Pi / 6
	p.X.Tick.Label.XAlign = draw.XRight
	p.X.Tick.Label.YAlign = draw.YTop
	p.X.Min, p.X.Max = -0.6, float64(len(bars))-0.4
	return save(p, base, vg.Length(max(6, len(bars)))*2*vg.Centimeter, 10*vg.Centimeter)
}

// SaveLines draws one line for each series and writes base.svg and base.png. Points that are not finite
// are left out.
func SaveLines(base, title, xLabel, yLabel string, series []Series) error {
	p := newPlot(title, xLabel, yLabel)
	drawn := 0
	for i, s := range series {
		var points plotter.XYs
		for _, q := range s.Points {
			if finite(q.X) && finite(q.Y) {
				points = append(points, plotter.XY{X: q.X, Y: q.Y})
			}
		}
		if len(points) == 0 {
			continue
		}
		line, err := plotter.NewLine(points)
		if err != nil {
			return fmt.Errorf("plotting %s: %w", s.Name, err)
		}
		line.Color, line.Width = palette[i%len(palette)], vg.Points(1.2)
		p.Add(line)
		p.Legend.Add(s.Name, line)
		drawn++
	}
	if drawn == 0 {
		return fmt.Errorf("%s: %w", base, errNothing)
	}
	p.Legend.Top = true
	return save(p, base, 16*vg.Centimeter, 10*vg.Centimeter)
}

func newPlot(title, xLabel, yLabel string) *plot.Plot {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, xLabel, yLabel
	p.Title.Padding = vg.Points(8)
	grid := plotter.NewGrid()
	grid.Vertical.Color = nil
	grid.Horizontal.Color = color.Gray{225}
	p.Add(grid)
	return p
}

// save writes a plot as SVG and PNG, making the folder if needed.
func save(p *plot.Plot, base string, width, height vg.Length) error {
	if err := os.MkdirAll(filepath.Dir(base), 0o755); err != nil {
		return fmt.Errorf("saving a plot: %w", err)
	}
	for _, ext := range []string{".svg", ".png"} {
		if err := p.Save(width, height, base+ext); err != nil {
			return fmt.Errorf("saving a plot: %w", err)
		}
	}
	return nil
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// barPlotter draws one bar from zero to its value, with an error bar.
type barPlotter struct {
	bar   Bar
	x     float64
	color color.Color
}

// interval is the bar's interval, the value alone where it has none.
func (b *barPlotter) interval() (low, high float64) {
	low, high = b.bar.Low, b.bar.High
	if !finite(low) || low > b.bar.Value {
		low = b.bar.Value
	}
	if !finite(high) || high < b.bar.Value {
		high = b.bar.Value
	}
	return low, high
}

// Plot implements plot.Plotter.
func (b *barPlotter) Plot(c draw.Canvas, p *plot.Plot) {
	toX, toY := p.Transforms(&c)
	half := (toX(b.x+0.35) - toX(b.x-0.35)) / 2
	x := toX(b.x)
	c.FillPolygon(b.color, c.ClipPolygonXY([]vg.Point{
		{X: x - half, Y: toY(0)}, {X: x + half, Y: toY(0)},
		{X: x + half, Y: toY(b.bar.Value)}, {X: x - half, Y: toY(b.bar.Value)},
	}))
	low, high := b.interval()
	if low == high {
		return
	}
	style := draw.LineStyle{Color: color.Black, Width: vg.Points(1)}
	c.StrokeLine2(style, x, toY(low), x, toY(high))
	for _, y := range []float64{low, high} {
		c.StrokeLine2(style, x-half/4, toY(y), x+half/4, toY(y))
	}
}

// DataRange implements plot.DataRanger; zero is always in sight.
func (b *barPlotter) DataRange() (xMin, xMax, yMin, yMax float64) {
	low, high := b.interval()
	return b.x - 0.5, b.x + 0.5, math.Min(0, low), math.Max(0, high)
}
