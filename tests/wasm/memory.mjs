// What a whole board takes in the words of a 32-bit port, in bytes:
//   node tests/wasm/memory.mjs FOLDER FUNCTIONS HOURS
// FOLDER holds the packages and the bench as byte code. This port collects garbage only between calls from here, and
// its heap grows as it likes, so what is in use is counted after each call and compared with a board's heap. `littered` is
// the most there was with all garbage of a call, which a board would have collected when its heap was full.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { loadMicroPython } from "./port.mjs";

const [folder, functions, hours] = process.argv.slice(2);
const micropython = await loadMicroPython({ heapsize: 192 * 1024 });

function mount(from, to) {
  micropython.FS.mkdirTree(to);
  for (const entry of readdirSync(from, { withFileTypes: true })) {
    if (entry.isDirectory()) mount(join(from, entry.name), to + "/" + entry.name);
    else micropython.FS.writeFile(to + "/" + entry.name, readFileSync(join(from, entry.name)));
  }
}

let peak = 0;
function run(code) {
  micropython.runPython(code + "\nin_use = gc.mem_alloc()");
  peak = Math.max(peak, micropython.globals.get("in_use"));
}

function used() {
  // What a stack frame left behind looks like a reference to this conservative collector: written over first.
  micropython.runPython("def scrub(n):\n  return n and 1 + scrub(n - 1)\nscrub(24)\ngc.collect()");
  micropython.runPython("in_use = gc.mem_alloc()");
  return micropython.globals.get("in_use");
}

mount(folder, "/board");
micropython.runPython("import gc, sys; sys.path.insert(0, '/board')");
const empty = used();
run("import bus_bench");
run("from bus_bench import Bank");
const bench_alone = used() - empty;
run("from forerun_board.start import PARTS");
for (const at of Array(9).keys()) {
  run(`if ${at} < len(PARTS): __import__(PARTS[${at}])`);
  used();
}
run("assert len(PARTS) <= 9");
const imported = used();
run("import board_bench");
run("units = board_bench.site_units()");
const bench = used() - imported + bench_alone;
function tell(what) {
  const now = used() - bench;
  console.log(JSON.stringify({ what, used: now, littered: peak - bench }));
  peak = 0;
}
let until_ms = 0;
function play(ms, step) {
  for (const end_ms = until_ms + ms; until_ms < end_ms; ) {
    until_ms += step;
    run(`bench.run(${until_ms})`);
    run("bench.forget()");
  }
}
function boot() {
  until_ms = 0;
  used();
  run("bench = board_bench.Bench(host=False, units=units, store=store)");
}
run("store = bus_bench.scratch()");
boot();
play(3000, 100);
tell("ordinary");
run(`bench.board.change_settings([20, ${functions}, 46, 900])`);
play(7000, 100);
tell("functions");
// The same after a restart, with a key; then for hours, in rounds of five seconds.
run("from forerun_board.twoslot import TwoSlot; TwoSlot(store + '/keys').write(bytes(range(32)))");
run("bench = None");
boot();
play(7000, 100);
tell("key");
run("bench.hal.stretched_ms = 5000");
play(3_600_000 * hours, 5000);
tell("hours");
run("bench.end()");
