// What a whole board takes in the words of a 32-bit port, in bytes:
//   node tests/wasm/memory.mjs FOLDER FUNCTIONS
// FOLDER holds the packages and the bench as byte code. This port collects garbage only between calls from here, and
// its heap grows as it likes, so what is in use is counted after each call and compared with a board's heap.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { loadMicroPython } from "@micropython/micropython-webassembly-pyscript/micropython.mjs";

const [folder, functions] = process.argv.slice(2);
const micropython = await loadMicroPython({ heapsize: 192 * 1024 });

function mount(from, to) {
  micropython.FS.mkdirTree(to);
  for (const entry of readdirSync(from, { withFileTypes: true })) {
    if (entry.isDirectory()) mount(join(from, entry.name), to + "/" + entry.name);
    else micropython.FS.writeFile(to + "/" + entry.name, readFileSync(join(from, entry.name)));
  }
}

function used() {
  micropython.runPython("gc.collect()");
  micropython.runPython("in_use = gc.mem_alloc()");
  return micropython.globals.get("in_use");
}

mount(folder, "/board");
micropython.runPython("import gc, sys; sys.path.insert(0, '/board')");
const empty = used();
micropython.runPython("import bus_bench");
micropython.runPython("from bus_bench import Bank");
const bench_alone = used() - empty;
micropython.runPython("from forerun_board.start import PARTS");
micropython.runPython("for part in PARTS: __import__(part)");
const imported = used();
micropython.runPython("import board_bench");
micropython.runPython("units = board_bench.site_units()");
const bench = used() - imported + bench_alone;
micropython.runPython("bench = board_bench.Bench(host=False, units=units)");
const tell = (what) => console.log(JSON.stringify({ what, used: used() - bench }));
let until_ms = 0;
function play(ms) {
  for (const end_ms = until_ms + ms; until_ms < end_ms; ) {
    until_ms += 100;
    micropython.runPython(`bench.run(${until_ms})`);
    micropython.runPython("bench.forget()");
  }
}
play(3000);
tell("ordinary");
if (functions) {
  micropython.runPython(`bench.board.change_settings([20, ${functions}, 46, 900])`);
  play(7000);
  tell("functions");
}
micropython.runPython("bench.end()");
