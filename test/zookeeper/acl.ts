import ZooKeeper from 'zookeeper';

/** Sets a node's access list, which the session never does. `perm`: read 1, write 2, create 4, delete 8, admin 16. */
export async function setAcl(connect: string, node: string, acl: { perm: number; scheme: string; auth: string }[]): Promise<void> {
  const client = new ZooKeeper({ connect, timeout: 10_000, debug_level: 0 });
  await new Promise((resolve) => {
    client.once('connect', resolve);
    client.init({});
  });
  try {
    await client.set_acl(node, -1, acl);
  } finally {
    client.close();
  }
}
