import { type ActivityOptions, CancellationScope, CancelledFailure, patched } from '@temporalio/workflow';

interface Open {
  readonly hosts: readonly string[];
  readonly scope: CancellationScope;
}

/** Until then only what was under way with a host was given up, and what came to it afterwards was tried for ever. */
const STAYS_GIVEN_UP = 'a host that is given up stays so';

/** Runs each activity so that it can be given up with the hosts it needs: one on a host that is gone for good would be tried for ever. */
export class HostScopes {
  private readonly open = new Set<Open>();
  private readonly gone = new Set<string>();

  /** @throws CancelledFailure where it needs a host that was given up, before or meanwhile */
  async run<T>(hosts: readonly string[], work: () => Promise<T>): Promise<T> {
    if (hosts.some((host) => this.gone.has(host)) && patched(STAYS_GIVEN_UP)) throw new CancelledFailure('its host is given up');
    const one = { hosts, scope: new CancellationScope() };
    this.open.add(one);
    try {
      return await one.scope.run(work);
    } finally {
      this.open.delete(one);
    }
  }

  /** Gives up everything that is under way with this host, or comes to it later. */
  giveUp(host: string): void {
    this.gone.add(host);
    for (const { hosts, scope } of [...this.open]) if (hosts.includes(host)) scope.cancel();
  }
}

type Execute = (options: ActivityOptions, args: readonly unknown[]) => Promise<unknown>;

/** The same activities, each in a scope of the hosts that its input names. */
export function inScopes<A extends object>(activities: A, scopes: HostScopes): A {
  return new Proxy(activities, {
    get: (target, name) => {
      const { executeWithOptions } = Reflect.get(target, name) as { executeWithOptions: Execute };
      const execute: Execute = (options, args) => scopes.run(hostsOf(args[0]), () => executeWithOptions(options, args));
      return { executeWithOptions: execute };
    },
  });
}

interface Names {
  readonly host?: { readonly name: string };
  readonly hosts?: readonly { readonly name: string }[];
  readonly first?: { readonly host: { readonly name: string } };
  readonly spec?: { readonly hosts: readonly { readonly name: string }[] };
}

/** The hosts that an activity's input names. */
function hostsOf(input: unknown): string[] {
  const { host, hosts = [], first, spec } = input as Names;
  return [...(host === undefined ? [] : [host]), ...hosts, ...(first === undefined ? [] : [first.host]), ...(spec?.hosts ?? [])].map(({ name }) => name);
}
