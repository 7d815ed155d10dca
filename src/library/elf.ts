/**
 * What a shared library exports, read from its ELF file as the dynamic loader does: through the dynamic segment, which a stripped
 * library keeps. Nothing of it is executed, and nothing in it is trusted: every number is checked against the file.
 */

/** The file is no shared library that can be read; the message says why and what to do. */
export class ElfError extends Error {
  override readonly name = "ElfError";
}

/** The source of the file's bytes. The reader never reads beyond `size`. */
export interface ElfSource {
  readonly size: number;
  read(offset: number, length: number): Uint8Array;
}

export interface SharedLibrary {
  /** As `process.arch` has it (`x64`, `arm64`), or another machine's name. */
  architecture: string;
  /** Exported functions by name, sorted, each once. C++ names are mangled. */
  functions: string[];
  /** Libraries that the loader opens with it, as the linker has named them. */
  needed: string[];
  /** What others name it; undefined where it has no such name. */
  soname: string | undefined;
  /** Folders where the loader looks for what is needed; `$ORIGIN` stands for the library's own. */
  searchPaths: string[];
}

const MACHINES: Record<number, string> = {
  2: "sparc",
  3: "ia32",
  8: "mips",
  20: "ppc",
  21: "ppc64",
  22: "s390x",
  40: "arm",
  62: "x64",
  183: "arm64",
  243: "riscv64",
  258: "loong64",
};
const TYPES: Record<number, string> = {
  1: "an object file; link it: cc -shared -o lib.so file.o",
  2: "an executable, and no library; build it with -shared -fPIC",
  4: "a core dump, and no library; name a library",
};
const SHARED_OBJECT = 3;
const HEADER_BYTES = 64;
const SEGMENT_BYTES = 56;
const SYMBOL_BYTES = 24;
/** Of the hash table, read at once. */
const CHAIN_BYTES = 4096;
const SEGMENT = { load: 1, dynamic: 2 };
const DYNAMIC = {
  end: 0,
  needed: 1,
  hash: 4,
  strings: 5,
  symbols: 6,
  stringBytes: 10,
  soname: 14,
  rpath: 15,
  runpath: 29,
  gnuHash: 0x6ffffef5,
  versions: 0x6ffffff0,
  flags: 0x6ffffffb,
};
/** In the flags: an executable that is loaded like a library. */
const POSITION_INDEPENDENT_EXECUTABLE = 0x08000000;
const SYMBOL = {
  untyped: 0,
  function: 2,
  indirectFunction: 10,
  global: 1,
  weak: 2,
  default: 0,
  protected: 3,
};
/** Of a version that is there for programs linked long ago. */
const HIDDEN_VERSION = 0x8000;
const EXECUTABLE = { segment: 1, section: 4 };
const SECTION_BYTES = 64;
/** Section numbers from here on are none. */
const RESERVED_SECTIONS = 0xff00;
/** Symbols that the linker puts into every library; no author wrote them. */
const NOT_FUNCTIONS = new Set([
  "_init",
  "_fini",
  "_etext",
  "__etext",
  "etext",
  "__executable_start",
]);

/** Reads what a shared library exports. Throws {@link ElfError}. */
export function readSharedLibrary(source: ElfSource): SharedLibrary {
  const file = new File(source);
  if (source.size < 4 || file.view(0, 4, "header").getUint32(0) !== 0x7f454c46)
    throw new ElfError("no ELF file; build a shared library: cc -shared -fPIC -o lib.so lib.c");
  const header = file.view(0, HEADER_BYTES, "header");
  const machine = header.getUint16(18, header.getUint8(5) === 1);
  const architecture = MACHINES[machine] ?? `machine ${machine}`;
  if (header.getUint8(4) !== 2 || header.getUint8(5) !== 1)
    throw new ElfError(
      `a library for another kind of machine (${architecture}, not 64-bit little-endian); build it for x86-64 or arm64`,
    );
  const type = header.getUint16(16, true);
  if (type !== SHARED_OBJECT)
    throw new ElfError(
      TYPES[type] ?? `no shared library (ELF type ${type}); build it with -shared`,
    );

  const { loaded, dynamic } = readSegments(file, header);
  const memory = new Memory(file, loaded);
  const { tags, needed } = readDynamic(file, dynamic);
  if ((tags.get(DYNAMIC.flags) ?? 0) & POSITION_INDEPENDENT_EXECUTABLE)
    throw new ElfError(TYPES[2]!);
  const functions = readFunctions(memory, tags, readSections(file, header));
  return { architecture, functions, ...readNeeds(memory, tags, needed) };
}

/** Bounds-checked views of the file. */
class File {
  readonly #source: ElfSource;
  constructor(source: ElfSource) {
    this.#source = source;
  }

  get size(): number {
    return this.#source.size;
  }

  view(offset: number, length: number, what: string): DataView {
    const bytes =
      offset + length <= this.#source.size ? this.#source.read(offset, length) : undefined;
    if (bytes?.length !== length)
      throw new ElfError(
        `truncated: its ${what} ends behind the end of the file; build or copy it again`,
      );
    return new DataView(bytes.buffer, bytes.byteOffset, length);
  }
}

interface Segment {
  offset: number;
  address: number;
  bytes: number;
  executable: boolean;
}

function readSegments(file: File, header: DataView): { loaded: Segment[]; dynamic: Segment } {
  const count = header.getUint16(56, true);
  if (count > 0 && header.getUint16(54, true) !== SEGMENT_BYTES)
    throw damaged("its program header has entries of another size");
  const table = file.view(whole(header, 32), count * SEGMENT_BYTES, "program header");
  const loaded: Segment[] = [];
  let dynamic: Segment | undefined;
  for (let at = 0; at < table.byteLength; at += SEGMENT_BYTES) {
    const type = table.getUint32(at, true);
    if (type !== SEGMENT.load && type !== SEGMENT.dynamic) continue;
    const segment = {
      offset: whole(table, at + 8),
      address: whole(table, at + 16),
      bytes: whole(table, at + 32),
      executable: (table.getUint32(at + 4, true) & EXECUTABLE.segment) !== 0,
    };
    if (segment.offset + segment.bytes > file.size)
      throw new ElfError(
        "truncated: one of its segments ends behind the end of the file; build or copy it again",
      );
    if (type === SEGMENT.load) loaded.push(segment);
    else dynamic = segment;
  }
  if (!dynamic)
    throw new ElfError("no dynamic library: it has no dynamic segment; link with -shared");
  return { loaded, dynamic };
}

/** Which sections hold code, by number; undefined where there are no section headers, which a loader does not need. */
function readSections(file: File, header: DataView): boolean[] | undefined {
  const offset = whole(header, 40);
  const bytes = header.getUint16(60, true) * SECTION_BYTES;
  if (bytes === 0 || header.getUint16(58, true) !== SECTION_BYTES || offset + bytes > file.size)
    return undefined;
  const table = file.view(offset, bytes, "section headers");
  const executable: boolean[] = [];
  for (let at = 0; at < bytes; at += SECTION_BYTES)
    executable.push((whole(table, at + 8) & EXECUTABLE.section) !== 0);
  return executable;
}

/** The first value of each tag, and all of what is needed. */
function readDynamic(
  file: File,
  { offset, bytes }: Segment,
): { tags: Map<number, number>; needed: number[] } {
  const table = file.view(offset, bytes, "dynamic segment");
  const tags = new Map<number, number>();
  const needed: number[] = [];
  for (let at = 0; at + 16 <= bytes; at += 16) {
    const tag = Number(table.getBigUint64(at, true));
    if (tag === DYNAMIC.end) break;
    const value = Number(table.getBigUint64(at + 8, true));
    if (!tags.has(tag)) tags.set(tag, value);
    if (tag === DYNAMIC.needed) needed.push(value);
  }
  return { tags, needed };
}

/** The file as the loader would lay it out: by address. */
class Memory {
  readonly #file: File;
  readonly #segments: readonly Segment[];
  constructor(file: File, segments: readonly Segment[]) {
    this.#file = file;
    this.#segments = segments;
  }

  get fileBytes(): number {
    return this.#file.size;
  }

  view(address: number, length: number, what: string): DataView {
    const segment = this.#segmentAt(address, what);
    const within = address - segment.address;
    if (within + length > segment.bytes) throw damaged(`its ${what} leaves its segment`);
    return this.#file.view(segment.offset + within, length, what);
  }

  /** From an address to the end of its segment, `limit` bytes at most. */
  rest(address: number, limit: number, what: string): DataView {
    const segment = this.#segmentAt(address, what);
    const length = Math.min(limit, segment.address + segment.bytes - address);
    return this.view(address, length, what);
  }

  isCode(address: number): boolean {
    return this.#find(address)?.executable ?? false;
  }

  #segmentAt(address: number, what: string): Segment {
    const found = this.#find(address);
    if (!found) throw damaged(`its ${what} lies outside of its segments`);
    return found;
  }

  #find(address: number): Segment | undefined {
    return this.#segments.find(
      (segment) => address >= segment.address && address - segment.address < segment.bytes,
    );
  }
}

function readNeeds(
  memory: Memory,
  tags: Map<number, number>,
  needed: readonly number[],
): Pick<SharedLibrary, "needed" | "soname" | "searchPaths"> {
  const strings = readStrings(memory, tags);
  if (!strings) return { needed: [], soname: undefined, searchPaths: [] };
  const named = (tag: number): string | undefined => {
    const offset = tags.get(tag);
    return offset === undefined ? undefined : strings.at(offset) || undefined;
  };
  // Where there are both, the loader leaves the older one aside.
  const paths = named(DYNAMIC.runpath) ?? named(DYNAMIC.rpath) ?? "";
  return {
    needed: needed.map((offset) => strings.at(offset)).filter((name) => name !== ""),
    soname: named(DYNAMIC.soname),
    searchPaths: paths.split(":").filter((path) => path !== ""),
  };
}

function readStrings(memory: Memory, tags: Map<number, number>): Names | undefined {
  const at = tags.get(DYNAMIC.strings);
  const bytes = tags.get(DYNAMIC.stringBytes);
  if (at === undefined || bytes === undefined) return undefined;
  return new Names(memory.view(at, bytes, "string table"), memory.fileBytes);
}

function readFunctions(
  memory: Memory,
  tags: Map<number, number>,
  sections: readonly boolean[] | undefined,
): string[] {
  const symbolsAt = tags.get(DYNAMIC.symbols);
  const reader = readStrings(memory, tags);
  if (symbolsAt === undefined || !reader) return [];
  const count = countSymbols(memory, tags);
  if (count === 0) return [];
  const symbols = memory.view(symbolsAt, count * SYMBOL_BYTES, "symbol table");
  const versionsAt = tags.get(DYNAMIC.versions);
  const versions =
    versionsAt === undefined ? undefined : memory.view(versionsAt, 2 * count, "version table");

  const names = new Set<string>();
  for (let i = 0; i < count; i++) {
    const at = i * SYMBOL_BYTES;
    if (!isExported(symbols, at) || !isFunction(symbols, at, memory, sections)) continue;
    if (versions && versions.getUint16(2 * i, true) & HIDDEN_VERSION) continue;
    const name = reader.at(symbols.getUint32(at, true));
    if (name !== "" && !NOT_FUNCTIONS.has(name)) names.add(name);
  }
  return [...names].sort();
}

/** An assembly label without a type counts as a function where it names code. */
function isFunction(
  symbols: DataView,
  at: number,
  memory: Memory,
  sections: readonly boolean[] | undefined,
): boolean {
  const type = symbols.getUint8(at + 4) & 15;
  if (type === SYMBOL.function || type === SYMBOL.indirectFunction) return true;
  const section = symbols.getUint16(at + 6, true);
  if (type !== SYMBOL.untyped || section >= RESERVED_SECTIONS) return false;
  return memory.isCode(whole(symbols, at + 8)) && (sections?.[section] ?? true);
}

function isExported(symbols: DataView, at: number): boolean {
  const binding = symbols.getUint8(at + 4) >> 4;
  const visibility = symbols.getUint8(at + 5) & 3;
  const defined = symbols.getUint16(at + 6, true) !== 0;
  return (
    defined &&
    (binding === SYMBOL.global || binding === SYMBOL.weak) &&
    (visibility === SYMBOL.default || visibility === SYMBOL.protected)
  );
}

/** The dynamic symbol table does not tell its length; the hash tables over it do. */
function countSymbols(memory: Memory, tags: Map<number, number>): number {
  const hash = tags.get(DYNAMIC.hash);
  if (hash !== undefined) return memory.view(hash, 8, "hash table").getUint32(4, true);
  const gnuHash = tags.get(DYNAMIC.gnuHash);
  if (gnuHash === undefined)
    throw damaged("it has no table to look its functions up in; link it with --hash-style=gnu");
  const table = memory.view(gnuHash, 16, "hash table");
  const bucketsAt = gnuHash + 16 + 8 * table.getUint32(8, true);
  const bucketsBytes = 4 * table.getUint32(0, true);
  const first = table.getUint32(4, true);
  if (bucketsBytes === 0) return 0;
  const buckets = memory.view(bucketsAt, bucketsBytes, "hash table");
  let last = 0;
  for (let at = 0; at < bucketsBytes; at += 4) last = Math.max(last, buckets.getUint32(at, true));
  // Nothing is exported: what is before the first hashed symbol is imported.
  if (last < first) return 0;
  // The last symbol is the end of the chain that the last bucket begins.
  for (let chainAt = bucketsAt + bucketsBytes + 4 * (last - first); ; chainAt += CHAIN_BYTES) {
    const chain = memory.rest(chainAt, CHAIN_BYTES, "hash table");
    for (let at = 0; at + 4 <= chain.byteLength; at += 4, last++)
      if (chain.getUint32(at, true) & 1) return last + 1;
  }
}

/** Strings of the string table. Together they are no longer than the file, or reading a hostile one would take for ever. */
class Names {
  readonly #strings: Uint8Array;
  /** A byte order mark is a part of a name like any other. */
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  #left: number;
  constructor(strings: DataView, fileBytes: number) {
    this.#strings = new Uint8Array(strings.buffer, strings.byteOffset, strings.byteLength);
    this.#left = fileBytes;
  }

  /** A name that is not UTF-8 could not be called; it reads as empty. */
  at(offset: number): string {
    const end = this.#strings.indexOf(0, offset);
    if (offset >= this.#strings.length || end < 0) throw damaged("a name leaves its string table");
    this.#left -= end - offset;
    if (this.#left < 0) throw damaged("its names are longer than the file");
    const name = this.#decoder.decode(this.#strings.subarray(offset, end));
    return name.includes("\ufffd") ? "" : name;
  }
}

/** A 64-bit offset or address. Those that a file of a sound size cannot have are rounded, and out of every bound. */
function whole(view: DataView, at: number): number {
  return Number(view.getBigUint64(at, true));
}

function damaged(what: string): ElfError {
  return new ElfError(`damaged: ${what}; build it again`);
}
