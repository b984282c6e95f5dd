// MicroPython's WebAssembly port. Its build compares every function that it calls through the table with what the table
// says itself, which takes half of the time: what was looked up once is known from then on.
const { get, set } = WebAssembly.Table.prototype;

WebAssembly.Table.prototype.get = function (at) {
  this.known ??= [];
  return (this.known[at] ??= get.call(this, at));
};
WebAssembly.Table.prototype.set = function (at, ...value) {
  if (this.known) delete this.known[at];
  return set.call(this, at, ...value);
};

export { loadMicroPython } from "@micropython/micropython-webassembly-pyscript/micropython.mjs";
