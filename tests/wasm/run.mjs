// Runs the shared tests on 32-bit MicroPython, in the heap of a small board: node tests/wasm/run.mjs [test_name.py ...]
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { loadMicroPython } from "./port.mjs";

const HEAP_BYTES = 192 * 1024;
const MOUNTED = ["protocol", "firmware", "tests/both"];
const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");

function mount(fs, path) {
  fs.mkdirTree("/forerun/" + path);
  for (const entry of readdirSync(join(root, path), { withFileTypes: true })) {
    const inside = path + "/" + entry.name;
    if (entry.isDirectory() && entry.name !== "__pycache__") mount(fs, inside);
    else if (/\.(py|jsonl|json|cddl)$/.test(entry.name)) fs.writeFile("/forerun/" + inside, readFileSync(join(root, inside)));
  }
}

const micropython = await loadMicroPython({ heapsize: HEAP_BYTES });
for (const path of MOUNTED) mount(micropython.FS, path);
micropython.runPython("import sys; sys.path.insert(0, '/forerun/tests/both'); import run");
micropython.globals.set("names", process.argv.slice(2).join(" "));
try {
  micropython.runPython("failed = run.main(names.split())");
  process.exitCode = micropython.globals.get("failed") ? 1 : 0;
} catch (error) {
  if (error.name !== "PythonError") throw error;
  console.error(error.message);
  process.exitCode = 1;
}
