/** The key of a state directory as it is now: one that is made or replaced while the manager runs counts from then on. */
import { type FSWatcher, watch } from "node:fs";
import { Revocations } from "../../protocol/tokens/revocation.ts";
import type { Scope } from "../../protocol/token.ts";
import {
  type Admitted,
  NoTokens,
  type Proving,
  type Refused,
  SignedTokens,
  type TokenCheck,
  TokenKeys,
} from "./keys.ts";

export class CurrentKey implements TokenCheck, Disposable {
  readonly #stateDir: string;
  readonly #watcher: FSWatcher;
  readonly #revocations: Revocations;
  #tokens: TokenCheck;
  #onChange: () => void = () => {};

  /**
   * `onProblem` hears of a new key that cannot be used; the one before stays. Tokens that `revocations` have are refused.
   *
   * @throws {EnvironmentError} the key that there is cannot be used
   */
  constructor(
    stateDir: string,
    onProblem: (message: string) => void,
    revocations: Revocations = new Revocations(),
  ) {
    this.#stateDir = stateDir;
    this.#revocations = revocations;
    this.#tokens = read(stateDir, revocations);
    this.#watcher = watch(stateDir, () => {
      try {
        this.#look();
      } catch (error) {
        onProblem(`the new key is not used: ${(error as Error).message}`);
      }
    });
  }

  get publicKey(): string | null {
    return this.#tokens.publicKey;
  }

  check(token: string | null, scope: Scope, proving?: Proving): Promise<Admitted | Refused> {
    return this.#tokens.check(token, scope, proving);
  }

  /** Calls `listener` when another key counts. */
  onChange(listener: () => void): void {
    this.#onChange = listener;
  }

  /** Looks at once. Throws {@link EnvironmentError} where the key cannot be used; the one before stays then. */
  readAgain(): void {
    this.#look();
  }

  [Symbol.dispose](): void {
    this.#watcher.close();
  }

  #look(): void {
    // Removing the key file must not open the manager: the last key counts until the manager stops.
    if (!TokenKeys.exist(this.#stateDir)) return;
    const tokens = read(this.#stateDir, this.#revocations);
    if (tokens.publicKey === this.#tokens.publicKey) return;
    this.#tokens = tokens;
    this.#onChange();
  }
}

function read(stateDir: string, revocations: Revocations): TokenCheck {
  return TokenKeys.exist(stateDir)
    ? new SignedTokens(TokenKeys.open(stateDir).publicKey, Date.now, revocations)
    : new NoTokens();
}
