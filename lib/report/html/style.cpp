#include <array>
#include <cmath>
#include <cstdio>

#include "lib/report/html/parts.h"

namespace eplb::html {
namespace {

struct Colour {
    std::array<int, 3> rgb;
};

// From below the mean over the mean to above it: blue and orange, which the colour-blind tell
// apart, and on grey paper the mean is the lightest (on dark screens the darkest).
struct HeatRamp {
    Colour cold;
    Colour mean;
    Colour hot;
};
constexpr HeatRamp kLight = {{{0x1f, 0x5f, 0xa8}}, {{0xf1, 0xef, 0xea}}, {{0xb0, 0x42, 0x04}}};
constexpr HeatRamp kDark = {{{0x63, 0xab, 0xf7}}, {{0x2b, 0x2e, 0x35}}, {{0xff, 0x9b, 0x47}}};
// Of the finer scale: teal and purple, so that nobody compares them with the others.
constexpr HeatRamp kLightFine = {{{0x0b, 0x72, 0x61}}, {{0xf1, 0xef, 0xea}}, {{0x7a, 0x3e, 0x9d}}};
constexpr HeatRamp kDarkFine = {{{0x4f, 0xcf, 0xae}}, {{0x2b, 0x2e, 0x35}}, {{0xcf, 0x9d, 0xf0}}};

std::string mixed(const Colour& from, const Colour& to, double part) {
    std::array<char, 8> text;
    std::array<int, 3> rgb;
    for (std::size_t i = 0; i < rgb.size(); ++i)
        rgb[i] = static_cast<int>(std::lround(from.rgb[i] + part * (to.rgb[i] - from.rgb[i])));
    std::snprintf(text.data(), text.size(), "#%02x%02x%02x", static_cast<unsigned>(rgb[0]) & 0xff,
                  static_cast<unsigned>(rgb[1]) & 0xff, static_cast<unsigned>(rgb[2]) & 0xff);
    return text.data();
}

std::string heat_classes(const HeatRamp& ramp, const std::string& name) {
    std::string text;
    constexpr int kMiddle = kHeatLevels / 2;
    for (int level = 0; level < kHeatLevels; ++level) {
        // from -1, no load, to 1
        const double side = static_cast<double>(level - kMiddle) / kMiddle;
        append(text, ".", name, std::to_string(level),
               "{fill:", mixed(ramp.mean, side < 0 ? ramp.cold : ramp.hot, std::abs(side)), "}\n");
    }
    return text;
}

constexpr const char* kLightNames =
    ":root{--page:#ffffff;--ink:#1b1f24;--quiet:#57606a;--rule:#d8dce1;--base:#6e7781;"
    "--card:#f4f5f7;--none:#dfe2e6;"
    "--s0:#b4500a;--s1:#1d5fa8;--s2:#0b7261;--s3:#7a3e9d;--s4:#4f5963}\n";
constexpr const char* kDarkNames =
    ":root{--page:#15181c;--ink:#e6e9ed;--quiet:#a3adb8;--rule:#343a42;--base:#8b949e;"
    "--card:#1f2329;--none:#3a4048;"
    "--s0:#f5a05a;--s1:#74b4f7;--s2:#4fcfae;--s3:#cf9df0;--s4:#bcc4cd}\n";

constexpr const char* kRules = R"(*{box-sizing:border-box}
html{color-scheme:light dark}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.45 system-ui,sans-serif}
main{max-width:1500px;margin:0 auto;padding:20px clamp(12px,2.5vw,36px)}
h1{font-size:1.6em;margin:0 0 .4em}
h2{font-size:1.2em;margin:1.8em 0 .3em}
p{margin:.3em 0;max-width:75em}
figure{margin:.8em 0 0}
figcaption{overflow-wrap:anywhere;margin-bottom:4px}
.small,.label{color:var(--quiet);font-size:.87em}
p.small,footer p{overflow-wrap:anywhere}
header .sheet{margin-top:14px}
.verdict{font-size:1.1em;font-weight:600;margin:0 0 .5em;overflow-wrap:anywhere}
.empty{color:var(--quiet);font-style:italic}
.number{display:inline-block;min-width:1.6em;text-align:center;border:1px solid var(--base);border-radius:4px;font-size:.85em}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,215px),1fr));gap:12px;margin:16px 0}
.card{background:var(--card);border:1px solid var(--rule);border-radius:8px;padding:10px 14px}
.value{font-size:1.5em;font-weight:600;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.each{display:block;white-space:nowrap;font-size:.75em}
.each .small{font-weight:400;font-size:.8em}
.legend{list-style:none;margin:.4em 0;padding:0;display:flex;flex-wrap:wrap;gap:2px 20px}
.legend li{overflow-wrap:anywhere}
.swatch{display:inline-block;width:12px;height:12px;margin-right:6px}
.panels{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,480px),1fr));gap:12px 36px}
.panel{min-width:0}
.scroll{overflow-x:auto}
.plot{padding:0 48px 0 52px}
.plot.named{padding-right:82px}
svg{display:block}
.plot svg,.open{overflow:visible}
.scale{margin:.5em 0}
text{font:11px system-ui,sans-serif;fill:var(--quiet);font-variant-numeric:tabular-nums;dominant-baseline:central}
.e{text-anchor:end}
.m{text-anchor:middle}
.b{text-anchor:start}
.grid{stroke:var(--rule)}
.base{stroke:var(--base)}
.grid,.base,.gaps rect,.dense rect,.scale rect{shape-rendering:crispEdges}
.gaps rect{stroke:var(--page)}
.none{fill:var(--none)}
rect.s0,text.s0{fill:var(--s0)}
rect.s1,text.s1{fill:var(--s1)}
rect.s2,text.s2{fill:var(--s2)}
rect.s3,text.s3{fill:var(--s3)}
rect.s4,text.s4{fill:var(--s4)}
.swatch.s0{background:var(--s0)}
.swatch.s1{background:var(--s1)}
.swatch.s2{background:var(--s2)}
.swatch.s3{background:var(--s3)}
.line{fill:none;stroke-width:2;vector-effect:non-scaling-stroke;stroke-linecap:round;stroke-linejoin:round}
.line.s0{stroke:var(--s0)}
.line.s1{stroke:var(--s1);stroke-dasharray:9 5}
.line.s2{stroke:var(--s2);stroke-dasharray:1 5}
.line.s3{stroke:var(--s3);stroke-dasharray:11 5 1 5}
.line.s4{stroke:var(--s4);stroke-dasharray:4 5}
.lead.line{stroke-width:1;stroke-dasharray:none}
details{margin:.5em 0}
summary{cursor:pointer;font-weight:600;overflow-wrap:anywhere}
.sheet{overflow:auto;max-height:75vh;margin-top:6px}
table{border-collapse:separate;border-spacing:0;font-variant-numeric:tabular-nums;font-size:.93em}
th,td{text-align:right;padding:2px 12px;border-bottom:1px solid var(--rule);font-weight:400;white-space:nowrap}
thead th{position:sticky;top:0;background:var(--page);font-weight:600;border-bottom-color:var(--base)}
tbody th{position:sticky;left:0;background:var(--page)}
tfoot th,tfoot td{font-weight:600}
.t{text-align:left}
.scale text{font-size:12px;fill:var(--ink)}
.name{white-space:normal;overflow-wrap:anywhere;min-width:20em}
footer{margin-top:2.5em;border-top:1px solid var(--rule);padding-top:8px}
@media screen and (max-width:860px){
.subjects thead{display:none}
.subjects tr{display:block;padding:6px 0;border-bottom:1px solid var(--rule)}
.subjects th,.subjects td{border:0;padding:0}
.subjects th{display:block;min-width:0}
.subjects td{display:inline-block;margin-right:16px}
.subjects td::before{content:attr(data-label) " ";color:var(--quiet)}
}
@media print{
body{font-size:12px}
main{padding:0;max-width:none}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}
section{break-before:page}
section:first-of-type{break-before:auto}
.panel,.card,tr,figure{break-inside:avoid}
h2,summary{break-after:avoid}
.panels{display:block}
.plot{min-width:0!important}
.scroll,.sheet{overflow:visible;max-height:none}
th,td{padding:1px 6px}
thead th,.t{white-space:normal}
tfoot{display:table-row-group}
.cards{grid-template-columns:repeat(auto-fit,minmax(150px,1fr))}
thead th,tbody th{position:static}
details::details-content{content-visibility:visible;block-size:auto}
}
)";

}  // namespace

std::string style_sheet() {
    std::string text;
    append(text, kLightNames, heat_classes(kLight, "q"), heat_classes(kLightFine, "f"),
           "@media screen and (prefers-color-scheme:dark){\n", kDarkNames, heat_classes(kDark, "q"),
           heat_classes(kDarkFine, "f"), "}\n", kRules);
    return text;
}

}  // namespace eplb::html
