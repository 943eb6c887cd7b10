"""The files of published data sets, with size and sha256."""

from __future__ import annotations

from gankit.downloads import WebFile

# A set, or a family of sets in the same files, with the URL of its files, or none where they are fetched by hand; then
# a line with name, size in bytes and sha256 of each file.
TABLE = """
[mnist] https://storage.googleapis.com/cvdf-datasets/mnist/{}
train-images-idx3-ubyte.gz 9912422 440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609
train-labels-idx1-ubyte.gz 28881 3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c
t10k-images-idx3-ubyte.gz 1648877 8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6
t10k-labels-idx1-ubyte.gz 4542 f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6
[fashion-mnist] https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/{}
train-images-idx3-ubyte.gz 26421880 3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84
train-labels-idx1-ubyte.gz 29515 a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845
t10k-images-idx3-ubyte.gz 4422102 346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073
t10k-labels-idx1-ubyte.gz 5148 67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5
[kmnist] https://codh.rois.ac.jp/kmnist/dataset/kmnist/{}
train-images-idx3-ubyte.gz 18165135 51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4
train-labels-idx1-ubyte.gz 29497 e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17
t10k-images-idx3-ubyte.gz 3041136 edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5
t10k-labels-idx1-ubyte.gz 5120 20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c
[emnist] https://biometrics.nist.gov/cs_links/EMNIST/{}
gzip.zip 561753746 fb9bb67e33772a9cc0b895e4ecf36d2cf35be8b709693c3564cea2a019fcda8e
[cifar10] https://www.cs.toronto.edu/~kriz/{}
cifar-10-python.tar.gz 170498071 6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce
[cifar100] https://www.cs.toronto.edu/~kriz/{}
cifar-100-python.tar.gz 169001437 85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7
[svhn] https://ufldl.stanford.edu/housenumbers/{}
train_32x32.mat 182040794 435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8
test_32x32.mat 64275384 cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b
[stl10] https://ai.stanford.edu/~acoates/stl10/{}
stl10_binary.tar.gz 2640397119 f31fd99273a1acb8609c8db427cebb1de3f71de77758cdc0e22956e1289b9866
[oxford-flowers] https://www.robots.ox.ac.uk/~vgg/data/flowers/102/{}
102flowers.tgz 344862509 2d01ecc807db462958cfe3d92f57a8c252b4abd240eb955770201e45f783b246
imagelabels.mat 502 4903e94206bac23bf772aadf06451916df56b58fc483a62db32a97b82656651d
setid.mat 14989 46b8678f91fd95d3c8f4feab80d271a6c834a1dd896fe29fd3e6ad9ce5c8dccd
[cub] https://data.caltech.edu/records/65de6-vp158/files/{}?download=1
CUB_200_2011.tgz 1150585339 0c685df5597a8b24909f6a7c9db6d11e008733779a671760afef78feb49bf081
[celeba]
img_align_celeba.zip 1443490838 46fb89443c578308acf364d7d379fe1b9efb793042c0af734b6112e4fd3a8c74
list_attr_celeba.txt 26721026 f0e5da289d5ccf75ffe8811132694922b60f2af59256ed362afa03fefba324d0
list_eval_partition.txt 2836386 fc955bcb3ef8fbdf7d5640d9a8693a8431b5f2ee291a5c1449a1549e7e073fe7
[mvtec]
mvtec_anomaly_detection.tar.xz 5264982680 cf4313b13603bec67abb49ca959488f7eedce2a9f7795ec54446c649ac98cd3d
[lsun:bedroom] https://dl.yf.io/lsun/scenes/{}
bedroom_train_lmdb.zip 45922737680 a15644c2e7153106867f0adb3491fc41224102d1f01b24494fb47d9f5d1f174e
bedroom_val_lmdb.zip 4670661 5d022e781b241c25ec2e1f1f769afcdb8091d7fd58362667aec03137b8114b12
[lsun:bridge] https://dl.yf.io/lsun/scenes/{}
bridge_train_lmdb.zip 16478644518 2701b2d421bbc4d8a5e9b0652ff7c3b57cd6495da8e0e85c39533275b5a925a3
bridge_val_lmdb.zip 6176834 83216a2974d6068c2e1d18086006e7380ff58540216f955ce87fe049b460cb0d
[lsun:church] https://dl.yf.io/lsun/scenes/{}
church_outdoor_train_lmdb.zip 2448463466 91128ae026840ac0c5982b4445ab5fc4e092d6847cca76793b2b1a0815c2e74a
church_outdoor_val_lmdb.zip 5957308 34635b7547a3e51a15f942a4a4082dd6bc9cca381a953515cb2275c0eed50584
[lsun:classroom] https://dl.yf.io/lsun/scenes/{}
classroom_train_lmdb.zip 3279497022 73a8a3e318819e1cc602f229673c3f51a68f3ece61e3764ce22df6abea4d0873
classroom_val_lmdb.zip 5880261 5e0e9a375d94091dfe1fa3be87d4a92f41c03f1c0b8e376acc7e05651de512d7
[lsun:conference] https://dl.yf.io/lsun/scenes/{}
conference_room_train_lmdb.zip 4048461633 fa0a4cf72e7acfb103392eaf33640d5508a728e971f31877b01d64e1bde6068c
conference_room_val_lmdb.zip 5316084 927c94df52e10b9b374748c2b83b28b5860e946b3186dfd587985e274834650f
[lsun:dining] https://dl.yf.io/lsun/scenes/{}
dining_room_train_lmdb.zip 11592966936 e4ee24c7c309360c3bf019123ce5bbf17434b2ba33abec2b0b07cfae715a52cb
dining_room_val_lmdb.zip 5301030 bd604d4b91bb5a9611d4e0b85475efd20758390d1a4eb57b53973fcbb5aa8ab6
[lsun:kitchen] https://dl.yf.io/lsun/scenes/{}
kitchen_train_lmdb.zip 35791384987 b1993cf639aece5d207a27eb9ff872bcca9dff6472d8227a052c79d40ee753c4
kitchen_val_lmdb.zip 4867891 329165f35ec61c4cf49f809246de300b8baad3ffcbda1ac30c27bdd32c84369a
[lsun:living] https://dl.yf.io/lsun/scenes/{}
living_room_train_lmdb.zip 22792405188 bd2c52b812c80f73ce3062a221396d13a52b5cce2f813b4cdf61937651281d7a
living_room_val_lmdb.zip 5167755 30a23d9a3db5414e9c97865f60ffb2ee973bfa658a23dbca7188ea514c97c9fc
[lsun:restaurant] https://dl.yf.io/lsun/scenes/{}
restaurant_train_lmdb.zip 13489345463 11a0a924b960cd0900e9b7477d684fb338bd99cc5f72db1caac592e4f497e09a
restaurant_val_lmdb.zip 6232385 efaa7bcb898ad6cb73b07b89fec3a9c670f4622912eea22fab3986c2cf9a1c20
[lsun:tower] https://dl.yf.io/lsun/scenes/{}
tower_train_lmdb.zip 12010237081 440caec74c9641cb51fd235a5970c8e4931c3af875aeb044a8bcca956e106309
tower_val_lmdb.zip 5223709 7f5257847bc01f4e40d4a1b3e24dd8fcd37063f12ca8cf31e726c2ee0b1ae104
[apple2orange] https://efrosgans.eecs.berkeley.edu/cyclegan/datasets/{}
apple2orange.zip 78456409 845a191e9af8926408ea597001cd03a452e3300a1f44a79fe329b3d59f6e3eb8
[cezanne2photo] https://efrosgans.eecs.berkeley.edu/cyclegan/datasets/{}
cezanne2photo.zip 279885071 3a6c10ca21f9485862f1cbd707744b9dc258954a04631271d23a3605eeb63cff
[facades] https://efrosgans.eecs.berkeley.edu/cyclegan/datasets/{}
facades.zip 35135868 9a31ebf3a31b9b5cd195dd5bf62e9308e00cb94604d1019e3889ac84248695c0
[horse2zebra] https://efrosgans.eecs.berkeley.edu/cyclegan/datasets/{}
horse2zebra.zip 116867962 a74d9d392eecca9966b51287a76ca126af473d9de4f3e8fc0e9cda08fa1730a1
[iphone2dslr_flower] https://efrosgans.eecs.berkeley.edu/cyclegan/datasets/{}
iphone2dslr_flower.zip 339964458 8fcb5e374d631b107e1d961b8c4cd0a186aa2a4ff3e279923f4c426128de7113
[maps] https://efrosgans.eecs.berkeley.edu/cyclegan/datasets/{}
maps.zip 1476754427 639534f69dbf9f36bef8d6292a7698006361221f83f0285d7c9ca78afe6e8a9e
[monet2photo] https://efrosgans.eecs.berkeley.edu/cyclegan/datasets/{}
monet2photo.zip 305231073 88f91b00fc228f97c9411fbf1880ec1d119c98f1722e4cfcfaa2fb35fac05b04
[summer2winter_yosemite] https://efrosgans.eecs.berkeley.edu/cyclegan/datasets/{}
summer2winter_yosemite.zip 132640856 167fe1726807a9d22bd106b4a6c0bd7953b688af924ac1bf967439c4961e49f9
[ukiyoe2photo] https://efrosgans.eecs.berkeley.edu/cyclegan/datasets/{}
ukiyoe2photo.zip 292946532 02a2a2fb5ecf425ca1bf86aca7304377da64a2a1d3b86df54eb65e4068bf3b08
[vangogh2photo] https://efrosgans.eecs.berkeley.edu/cyclegan/datasets/{}
vangogh2photo.zip 306590349 362c3473e70be0944bda08d49d660eafdc2854df55d697835b8186d1d79caaff
"""


def _read(table: str) -> dict[str, tuple[WebFile, ...]]:
    files: dict[str, tuple[WebFile, ...]] = {}
    owner = url = ""
    for line in table.strip().splitlines():
        if line.startswith("["):
            owner, _, url = line[1:].partition("]")
            files[owner] = ()
        else:
            name, size, digest = line.split()
            files[owner] += (WebFile(name, url.strip().format(name), digest, int(size)),)
    return files


FILES = _read(TABLE)
