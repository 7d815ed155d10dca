/** What is fuzzed: a name, which is that of a file in `targets/`, and what is counted. */
export interface Target {
  /** Their branches are counted. */
  sources: readonly string[];
  /**
   * Names of functions in them, or parts of lines, whose branches no input reaches: what writes and does not read, what depends on the
   * machine or on the caller, and what is there for the compiler of types.
   */
  except?: readonly string[];
  /** It makes code, which the inputs are led by. */
  generates?: true;
}

export const TARGETS: Readonly<Record<string, Target>> = {
  addresses: {
    sources: ["src/control/address.ts", "src/trust/fingerprint.ts", "src/base/units.ts"],
    except: [
      ...["defaultAddress", "countOf"],
      // Each group of the pattern has matched.
      'const [place = "", ...queries]',
      'const [name = "", ...values]',
      'const [plain = "", scope = "lo"',
    ],
  },
  archive: {
    sources: ["src/package/contents/archive.ts"],
    except: [
      ...["writeArchive", "archiveOf", "fill", "add"],
      // Files of 8 GiB.
      "bytes > MAX_PLAIN_SIZE ?",
    ],
  },
  codec: { sources: ["src/codec/decoder.ts"] },
  elf: { sources: ["src/library/elf.ts"] },
  "error-record": {
    sources: ["src/client/failures/remote-error.ts"],
    except: ["record: ErrorRecord, causes = MAX_CAUSES"],
  },
  frames: {
    sources: [
      "src/protocol/frames/framing.ts",
      "src/protocol/frames/plain-message-pack.ts",
      "src/control/accept/first-bytes.ts",
    ],
  },
  http: {
    sources: [
      "src/manager/http/request.ts",
      "src/manager/http/router.ts",
      "src/manager/http/operation.ts",
    ],
    except: [
      // It calls a manager.
      "operation",
      // Node's parser gives each request a URL.
      'const url = request.url ?? ""',
      'const [rawName = "", ...value]',
      'const [type = "", ...parameters]',
    ],
  },
  journal: {
    sources: ["src/executor/accounts/journal-file.ts"],
    except: ["headOf", "isOver", "makeJournal", "append", "startOf"],
  },
  "known-nodes": {
    sources: ["src/trust/remembered-keys.ts"],
    except: ["append", 'const [place = "", value = ""', "if (first !== undefined) compare"],
  },
  manifest: {
    sources: ["src/package/contents/manifest.ts"],
    // More files than a manifest has room for.
    except: ["files.length > MAX_FILES || encodeManifest"],
  },
  messages: {
    sources: ["src/protocol/vocabulary.ts"],
    except: ["constructor", 'first?.path || "/"'],
  },
  "node-list": {
    sources: ["src/client/cluster/node-list.ts"],
    except: ["readNodeList", "read", "wrongValue"],
  },
  options: {
    sources: ["src/options/flags.ts", "src/options/read.ts", "src/commands/shared/command-line.ts"],
    except: [
      ...["inherited", "optionsFor", "marked", "usageOf", "longOf", "flagsOf"],
      'error?.path ?? ""',
      'error?.message ?? "is wrong"',
    ],
  },
  schema: {
    sources: ["src/schema/description.ts", "src/schema/shapes.ts"],
    // It gets what was read alone.
    except: ["describe", "describeSchema"],
  },
  // The code that it makes is what reads; that counts for what inputs are kept.
  shaped: {
    sources: ["src/codec/shaped.ts"],
    except: ["constructor", "readsShaped ? HEAD"],
    generates: true,
  },
  token: {
    sources: [
      "src/protocol/token.ts",
      "src/protocol/token-key.ts",
      "src/protocol/holder/credential.ts",
      "src/protocol/holder/proof.ts",
      "src/protocol/joining/join-token.ts",
    ],
    except: [
      "sign",
      // No signature is wrong in another way once the claims could be read.
      "ERR_JWS_SIGNATURE_VERIFICATION_FAILED",
      'first?.message ?? "wrong"',
      // A private key is given by the one who makes tokens.
      'key.type === "private"',
    ],
  },
  wasm: { sources: ["src/library/wasm.ts"] },
};

/** A parser with bugs, which must be found. */
export const PLANTED: Target = { sources: ["test/fuzz/planted/parser.ts"] };
