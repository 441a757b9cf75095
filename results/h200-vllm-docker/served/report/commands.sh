# The same question, measured anew:
python -m sparkray.sweep baseline --experiment h200-vllm-serve --site discrete-gpu-vllm --models Qwen2-1.5B-random --environments native,container_host_network --runs 12 --requests 64 --seed 20261129 --set docker.container_host_network.ipc=host --set docker.container_host_network.network=host --set docker.container_host_network.ulimit_memlock=-1 --set docker.container_host_network.ulimit_stack=67108864 --set 'docker.container_host_network.device=["/dev/nvidia0", "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools"]'
# Engine options that were set on the command line are not stored: compare the command lines below.

# ---- native (chroot into the image's own files): how its engine was started
# Qwen2-1.5B-random
# As root. ROOTFS: the files of the image sparkray/host-files:b0bc20aa55428f51 (docker export of a container of it, unpacked);
# MODEL: the weights; IN: the run's inputs, of the dataset's inputs/; OUT, SCRATCH: two empty folders.
export ROOTFS MODEL IN OUT SCRATCH
: "${ROOTFS:?} ${MODEL:?} ${IN:?} ${OUT:?} ${SCRATCH:?}"
unshare --mount --propagation private sh -eu <<'END'
mount --bind "$ROOTFS" "$ROOTFS"
mount -t proc -o nosuid,nodev,noexec proc "$ROOTFS/proc"
mount --rbind /sys "$ROOTFS/sys"
mount --rbind /dev "$ROOTFS/dev"
mount --bind "$SCRATCH" "$ROOTFS/tmp"
mount -t tmpfs -o nosuid,nodev,mode=755,size=1m tmpfs "$ROOTFS/sparkray"
mkdir -p "$ROOTFS/sparkray/in" "$ROOTFS/sparkray/out"
mkdir -p "$ROOTFS"/sparkray/model
if [ -d "$MODEL" ]; then mkdir -p "$ROOTFS"/sparkray/model/Qwen2-1.5B-random; else : > "$ROOTFS"/sparkray/model/Qwen2-1.5B-random; fi
mount --bind "$MODEL" "$ROOTFS"/sparkray/model/Qwen2-1.5B-random
mount -o remount,bind,ro "$ROOTFS"/sparkray/model/Qwen2-1.5B-random
mount --bind "$IN" "$ROOTFS/sparkray/in"
mount -o remount,bind,ro "$ROOTFS/sparkray/in"
mount --bind "$OUT" "$ROOTFS/sparkray/out"
mount -o remount,bind,ro "$ROOTFS"
umask 0022
echo 0 > /proc/self/oom_score_adj
exec nice -n 0 prlimit --cpu=unlimited:unlimited --fsize=unlimited:unlimited --data=unlimited:unlimited --stack=67108864:67108864 --core=unlimited:unlimited --rss=unlimited:unlimited --nproc=515506:515506 --nofile=20000:20000 --memlock=unlimited:unlimited --as=unlimited:unlimited --sigpending=515506:515506 --msgqueue=819200:819200 --nice=0:0 --rtprio=0:0 --rttime=unlimited:unlimited taskset -c 0-$(($(nproc --all) - 1)) env -i CC=gcc CXX=g++ DO_NOT_TRACK=1 GLOO_SOCKET_IFNAME=lo HF_HUB_OFFLINE=1 HOME=/sparkray/cache/home HOSTNAME=vm LANG=C.UTF-8 LD_LIBRARY_PATH=/usr/local/nvidia/lib64:/usr/local/nvidia/lib NCCL_SOCKET_IFNAME=lo PATH=/opt/torch/.venv/bin:/opt/torch/.venv/bin:/usr/local/nvidia/bin:/usr/local/cuda/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/gcc/bin:/usr/local/sbin:/usr/sbin:/sbin TORCHINDUCTOR_CACHE_DIR=/sparkray/cache/inductor TRANSFORMERS_OFFLINE=1 TRITON_CACHE_DIR=/sparkray/cache/triton VLLM_CACHE_ROOT=/sparkray/cache/vllm VLLM_HOST_IP=127.0.0.1 VLLM_NO_USAGE_STATS=1 VLLM_USE_FLASHINFER_SAMPLER=0 "$(command -v chroot)" "$ROOTFS" vllm serve /sparkray/model/Qwen2-1.5B-random --served-model-name Qwen2-1.5B-random --host 127.0.0.1 --port 33109 --max-model-len 2048 --max-num-seqs 16 --no-enable-prefix-caching --dtype bfloat16 --gpu-memory-utilization 0.3 --max-num-batched-tokens 8192 --load-format dummy --tokenizer /sparkray/model/Qwen2-1.5B-random/tokenizer
END
# This is concurrency=1 batch=16; other levels differ in their inputs and these words: concurrency=16 batch=16 has 45755 in place of 33109. sparkray also mounts the driver's libraries into the image's files, as Docker's toolkit does.

# ---- container host network: how its engine was started
# Qwen2-1.5B-random
docker run --rm --name=sparkray-7bc24e48e4e8e795 --ipc=host --network=host --ulimit=memlock=-1 --ulimit=stack=67108864 --device=/dev/nvidia0 --device=/dev/nvidiactl --device=/dev/nvidia-uvm --device=/dev/nvidia-uvm-tools --env=CC=gcc --env=CXX=g++ --env=DO_NOT_TRACK=1 --env=GLOO_SOCKET_IFNAME=lo --env=HF_HUB_OFFLINE=1 --env=HOME=/sparkray/cache/home --env=NCCL_SOCKET_IFNAME=lo --env=SPARKRAY_RUN=sparkray-7bc24e48e4e8e795 --env=TORCHINDUCTOR_CACHE_DIR=/sparkray/cache/inductor --env=TRANSFORMERS_OFFLINE=1 --env=TRITON_CACHE_DIR=/sparkray/cache/triton --env=VLLM_CACHE_ROOT=/sparkray/cache/vllm --env=VLLM_HOST_IP=127.0.0.1 --env=VLLM_NO_USAGE_STATS=1 --env=VLLM_USE_FLASHINFER_SAMPLER=0 --volume=/root/w/cache/sparkray/random-models/Qwen2-1.5B-random:/sparkray/model/Qwen2-1.5B-random:ro --volume=/root/w/results/occasion-1/h200-vllm-serve/inputs/Qwen2-1.5B-random-concurrency-1-batch-16:/sparkray/in:ro --volume=/root/w/results/occasion-1/h200-vllm-serve/spool/7bc24e48e4e8e795-1/out:/sparkray/out --volume=/root/w/cache/sparkray/compiled/4c037a987f07a88b/shared:/sparkray/cache --volume=/opt:/opt:ro --volume=/usr:/usr:ro --label=io.sparkray.experiment=h200-vllm-serve --label=io.sparkray.run=7bc24e48e4e8e795 --workdir=/ --entrypoint= sha256:3f0e853179ce020c78abf92e65df76558f25df2b8454517ac1e8b2e4f6a09524 vllm serve /sparkray/model/Qwen2-1.5B-random --served-model-name Qwen2-1.5B-random --host 127.0.0.1 --port 39669 --max-model-len 2048 --max-num-seqs 16 --no-enable-prefix-caching --dtype bfloat16 --gpu-memory-utilization 0.3 --max-num-batched-tokens 8192 --load-format dummy --tokenizer /sparkray/model/Qwen2-1.5B-random/tokenizer
# This is concurrency=1 batch=16; other levels differ in their inputs and these words: concurrency=16 batch=16 has 44559 in place of 39669.

