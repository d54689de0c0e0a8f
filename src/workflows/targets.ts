import type { HostTarget, RestartInput, ZooKeeperTarget } from '../activities/types';
import { type HostSpec, type MigrationSpec, secretVariables } from '../domain/spec';

/** How the worker reaches a host, with its metadata where it is expected: before the restart phase, or after it. */
export function hostTarget(host: HostSpec, where: 'before' | 'after'): HostTarget {
  return {
    name: host.name,
    url: host.url,
    user: host.user,
    zookeeper: where === 'before' ? host.zookeeper : host.after,
    ...(host.passwordEnv === undefined ? {} : { passwordEnv: host.passwordEnv }),
    ...(host.tls === undefined ? {} : { tls: host.tls }),
  };
}

export function zookeeperTarget(spec: MigrationSpec): ZooKeeperTarget {
  return { auxiliary: spec.auxiliary, ...(spec.digestEnv === undefined ? {} : { digestEnv: spec.digestEnv }) };
}

export function restartInput(spec: MigrationSpec, host: HostSpec): RestartInput {
  return {
    migration: spec.id,
    host: hostTarget(host, 'before'),
    after: host.after,
    restart: host.restart,
    zookeeper: zookeeperTarget(spec),
    forward: true,
    secretEnvs: secretVariables(spec),
  };
}

/** The restart with which an abort returns a host to where it was. */
export function returnInput(spec: MigrationSpec, host: HostSpec): RestartInput {
  const { reconfigureBack, strategy, timeoutMs } = host.restart;
  return {
    migration: spec.id,
    host: hostTarget(host, 'after'),
    after: host.zookeeper,
    restart: { strategy, timeoutMs, ...(reconfigureBack === undefined ? {} : { reconfigure: reconfigureBack }) },
    zookeeper: zookeeperTarget(spec),
    secretEnvs: secretVariables(spec),
  };
}

/** Whether the host's metadata goes to another root or ensemble. */
export function moves(host: HostSpec): boolean {
  return host.zookeeper.connect !== host.after.connect || host.zookeeper.root !== host.after.root;
}
