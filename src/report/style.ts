/** The report's style sheet: system fonts, light and dark, nothing loaded. */
export const STYLE = `
:root { color-scheme: light dark; --line: #8884; --dim: #777; }
body { font: 14px/1.45 system-ui, sans-serif; margin: 2rem; max-width: 1400px; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
h1, code, .why, dd { overflow-wrap: anywhere; } code { font-size: .92em; }
.small, .legend, dt, th { color: var(--dim); font-size: .85rem; }
.why { border-left: 4px solid #d33; padding-left: .7rem; }
.outcome { padding: .1rem .6rem; border-radius: 1rem; font-size: .95rem; color: #fff; background: #777; }
.outcome.completed { background: #2a7d3f; } .outcome.failed { background: #c0342c; } .outcome.waiting, .outcome.aborted { background: #9a6a00; } .outcome.running { background: #2563a8; }
dl { display: flex; flex-wrap: wrap; gap: .4rem 1.6rem; } dd { margin: 0; font-variant-numeric: tabular-nums; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; } th, td { text-align: left; vertical-align: top; padding: .25rem 1rem .25rem 0; border-bottom: 1px solid var(--line); white-space: nowrap; }
td.long { white-space: normal; overflow-wrap: anywhere; min-width: 14rem; } .right { text-align: right; } th { position: sticky; top: 0; background: Canvas; }
svg { width: 100%; min-width: 700px; height: auto; font: 12px system-ui, sans-serif; } svg text { fill: currentColor; } text.lane { text-anchor: end; } text.tick { text-anchor: middle; fill: var(--dim); }
line.grid { stroke: var(--line); } line.decision { stroke: currentColor; stroke-dasharray: 3 3; } .failure { fill: #d33; background: #d33; }
.legend span { white-space: nowrap; margin-right: .6em; } .legend i { display: inline-block; width: .8em; height: .8em; margin-right: .3em; } .legend i.failure { border-radius: 50%; }
@media (max-width: 1100px) { body { margin: 1rem; } .scroll { overflow-x: auto; } th { position: static; } }
.preflight { fill: #8a8f98; background: #8a8f98; } .detach { fill: #d98e04; background: #d98e04; } .clean { fill: #c0563a; background: #c0563a; }
.restart { fill: #7b5cc4; background: #7b5cc4; } .restore { fill: #2f8f57; background: #2f8f57; } .abort { fill: #b03060; background: #b03060; } .finish { fill: #3c78b4; background: #3c78b4; }
`;
